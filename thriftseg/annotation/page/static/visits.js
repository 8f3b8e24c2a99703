/**
 * Going from frame to frame: showing one, opening it for drawing, giving it back, playing, the next of the queue.
 */

import { api, ApiError } from "./api.js";
import { input } from "./elements.js";

/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./tools.js").ToolName} ToolName */
/** @typedef {import("./main.js").Page} Page */

const SETTLE_MS = 120; // a frame is leased when the person stays on it, not while scrubbing
const RETRY_MS = 3000;

export class Visits {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /**
   * Show a frame; it is opened for drawing when the person stays.
   * @param {number} video @param {number} place
   * @param {boolean} [stay] false while playing
   */
  async go(video, place, stay = true) {
    if (stay) this.page.player.stop();
    this.leave();
    const visit = ++this.page.visit;
    const changed = video !== this.page.video || !this.page.videos.has(video);
    this.page.video = video;
    this.page.place = place;
    this.page.frame = null;
    input("video").value = String(video);
    try {
      if (changed) {
        const state = await api.video(video);
        state.leases = {}; // our own among them; those of others come every second
        this.page.videos.set(video, state);
        for (const [id, cls] of state.objects ?? []) this.page.objects.set(id, cls);
      }
      if (visit !== this.page.visit) return;
      this.page.timeline.show(this.page.state ?? this.page.timeline.state, place);
      const size = this.page.work.videos[video];
      this.page.player.pixels = size ? size.height * size.width : 1;
      const fetched = this.page.player.get(video, place);
      const [image, frame] = await Promise.all([fetched.image, fetched.label]);
      if (visit !== this.page.visit) return;
      this.page.view.showImage(image);
      this.page.showFrame(frame);
    } catch (error) {
      this.page.settling = setTimeout(() => this.go(video, place, stay), RETRY_MS);
      this.page.trouble(error);
      return;
    }
    this.page.notices.clear("error");
    history.replaceState(null, "", `#${video}/${place}`);
    this.page.queue.showPresent(video, place);
    if (stay) this.page.settling = setTimeout(() => this.open(visit), SETTLE_MS);
  }

  /** End the present visit: the lease goes back when all is sent. */
  leave() {
    clearTimeout(this.page.settling);
    this.page.tools.discard();
    this.page.taken = false;
    this.page.notices.clear("lease");
    if (!this.page.leased) return;
    this.page.leased = false;
    const { video, place } = this.page;
    this.page.player.forget(video, place);
    this.page.outbox.empty([video, place]).then(() => {
      if (this.page.video !== video || this.page.place !== place) api.close(video, place, this.page.session).catch(() => {});
    });
  }

  /** @param {number} visit */
  async open(visit) {
    const { video, place } = this.page;
    this.page.taken = false;
    this.page.clock.restart();
    this.page.pending = 0;
    let opened = false;
    try {
      await this.page.outbox.empty([video, place]);
      if (visit !== this.page.visit) return;
      this.page.player.fetchAhead(video, place, this.page.count);
      const { version } = await api.open(video, place, this.page.session, this.page.look.person);
      opened = true;
      const frame = await api.label(video, place);
      if (visit !== this.page.visit) {
        await api.close(video, place, this.page.session);
        return;
      }
      this.page.leased = true;
      this.page.opened = version;
      this.page.taken = false;
      this.page.finishing = null;
      this.page.notices.clear("lease");
      this.page.showFrame(frame);
      this.showGhost();
      this.chooseTaskTool(frame);
    } catch (error) {
      const ours = this.page.leased && this.page.video === video && this.page.place === place;
      if (opened && !ours) api.close(video, place, this.page.session).catch(() => {}); // nobody else would
      if (visit !== this.page.visit) return;
      if (error instanceof ApiError && error.status === 409) {
        this.page.taken = true;
        this.page.notices.tell("lease", error.message, "You can look at it; it opens here as soon as it is free.");
      } else this.page.trouble(error);
      this.page.settling = setTimeout(() => this.open(visit), RETRY_MS);
    }
    this.page.refresh();
  }

  /** The nearest labelled frame before this one, or else after it, below the present one. */
  async showGhost() {
    const { frame, visit } = this.page;
    const states = this.page.state?.states ?? "";
    if (!frame) return;
    let near = -1;
    for (let distance = 1; this.page.look.ghost && near < 0 && distance < states.length; distance++) {
      near = [this.page.place - distance, this.page.place + distance].find((place) => "mwdrl".includes(states[place] ?? "-")) ?? -1;
    }
    const ghost = near < 0 ? null : await this.page.player.get(this.page.video, near).label.catch(() => null);
    if (visit === this.page.visit && this.page.frame) this.page.view.showBelow(ghost, this.page.color, this.page.frame);
  }

  /** @param {Frame} frame */
  chooseTaskTool(frame) {
    const { task } = frame.header;
    if (!task) return;
    /** @type {Record<string, ToolName>} */
    const tools = { region: "polygon", mask: "brush", clicks: "click" };
    this.page.commands.choose(tools[task.kind] ?? "click");
  }

  untouched() {
    const { frame, outbox, tools, video, place } = this.page;
    return frame !== null && frame.done.length + frame.undone.length === 0 && !outbox.has(video, place) && !tools.busy;
  }

  async showAgain() {
    const { visit, video, place, leased } = this.page;
    try {
      const version = leased ? (await api.open(video, place, this.page.session, this.page.look.person)).version : null;
      const frame = await this.page.player.get(video, place).label;
      if (visit !== this.page.visit || leased !== this.page.leased || (leased && !this.untouched())) return;
      this.page.opened = version;
      this.page.showFrame(frame);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // others have it meanwhile: the next look at what has changed tells
    }
  }

  async play() {
    if (this.page.player.playing) this.page.player.stop();
    else {
      const from = this.page.place + 1 < this.page.count ? this.page.place : 0;
      this.page.player.play(this.page.video, from, this.page.count).then(() => {
        if (!this.page.leased) this.page.settling = setTimeout(() => this.open(this.page.visit), SETTLE_MS);
        this.page.refresh();
      });
    }
  }

  async nextInQueue() {
    await this.page.queue.load();
    const item = this.page.queue.next();
    if (item) this.go(item[0], item[1]);
    else this.page.notices.say(this.page.queue.fault || "Nothing is waiting in this queue.");
  }
}
