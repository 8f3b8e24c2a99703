/**
 * Frames before they are asked for: the next ones are fetched ahead, the last ones are kept, and playing goes through them.
 */

import { api } from "./api.js";

/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {{image: Promise<ImageBitmap>, label: Promise<Frame>}} Fetched */

const KEPT_PIXELS = 40_000_000; // of images and labels together some 320 MB
const FEWEST = 6;
const PLAY_MS = 120;

export class Player {
  /**
   * @param {(place: number) => Promise<void>} show called for every frame while playing
   * @param {(video: number) => string} stamp of the images of a video
   * @param {(video: number, place: number) => boolean} changing whether the label of a frame is on its way to the server
   */
  constructor(show, stamp, changing) {
    this.show = show;
    this.stamp = stamp;
    this.changing = changing;
    /** @type {Map<string, Fetched>} the oldest first */
    this.kept = new Map();
    this.pixels = 1;
    this.playing = false;
  }

  /** @param {number} video @param {number} place @returns {Fetched} */
  get(video, place) {
    const key = `${video}/${place}`;
    const fetched = this.kept.get(key) ?? {
      image: api.image(video, place, this.stamp(video)),
      label: api.label(video, place),
    };
    this.kept.delete(key);
    if (!this.changing(video, place)) this.kept.set(key, fetched);
    fetched.image.catch(() => this.kept.delete(key));
    fetched.label.catch(() => this.kept.delete(key));
    const most = Math.max(FEWEST, Math.floor(KEPT_PIXELS / this.pixels));
    for (const oldest of [...this.kept.keys()].slice(0, -most)) this.kept.delete(oldest);
    return fetched;
  }

  /** The label of a frame has changed. @param {number} video @param {number} place */
  forget(video, place) {
    this.kept.delete(`${video}/${place}`);
  }

  /** @param {number} video @param {number} place @param {number} count of frames of the video */
  fetchAhead(video, place, count) {
    for (const near of [place + 1, place + 2, place - 1]) if (near >= 0 && near < count && !this.changing(video, near)) this.get(video, near);
    this.get(video, place);
  }

  /** @param {number} video @param {number} place where to begin @param {number} count */
  async play(video, place, count) {
    this.playing = true;
    for (let at = place; this.playing && at < count; at++) {
      this.fetchAhead(video, at, count);
      await Promise.all([this.show(at), new Promise((resolve) => setTimeout(resolve, PLAY_MS))]);
    }
    this.playing = false;
  }

  stop() {
    this.playing = false;
  }
}
