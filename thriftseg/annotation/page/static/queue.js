/**
 * What to do next: the list that the server ranks, and the way through it.
 */

import { api, ApiError } from "./api.js";
import { element } from "./palette.js";

/** @typedef {import("./api.js").QueueItem} QueueItem */
/** @typedef {import("./api.js").Work} Work */

const SHOWN = 200;
const RETRY_MS = 2000;

export class Queue {
  /**
   * @param {string} session
   * @param {Work} work
   * @param {(video: number, place: number) => void} go
   */
  constructor(session, work, go) {
    this.session = session;
    this.work = work;
    this.go = go;
    /** @type {QueueItem[]} */
    this.items = [];
    /** @type {[number, number]} */
    this.present = [0, 0];
    /** Where the present frame stood before it was finished. */
    this.last = 0;
    /** Why there is no list. */
    this.fault = "";
    /** @type {number | undefined} */
    this.timer = undefined;
    this.list = /** @type {HTMLElement} */ (document.getElementById("queue-items"));
    this.choice = /** @type {HTMLSelectElement} */ (document.getElementById("queue-choice"));
    this.choice.replaceChildren(...work.queues.map(({ id, name }) => new Option(name, id)));
    this.choice.addEventListener("change", () => this.load());
  }

  /** Ask the server; what it cannot say yet is asked again. */
  async load() {
    clearTimeout(this.timer);
    if (!this.choice.value) return;
    const before = this.index;
    try {
      this.items = (await api.queue(this.choice.value, this.session)).items;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.items = [];
      this.fault = error.message;
      this.list.replaceChildren(element("li", { class: "empty" }, error.message));
      if (error.passing) this.timer = setTimeout(() => this.load(), RETRY_MS);
      return;
    }
    this.fault = "";
    if (before >= 0) this.last = before;
    this.draw();
  }

  /** @param {number} video @param {number} place */
  showPresent(video, place) {
    this.present = [video, place];
    this.draw();
  }

  /** Where the present frame stands; -1 where it does not wait (any more). */
  get index() {
    return this.items.findIndex(([video, place]) => video === this.present[0] && place === this.present[1]);
  }

  /** @returns {QueueItem | undefined} the one after the present frame, or the first */
  next() {
    const { index } = this;
    return this.items[index < 0 ? this.last : index + 1] ?? this.items[0];
  }

  draw() {
    const rows = this.items.slice(0, SHOWN).map(([video, place, , why]) => {
      const present = video === this.present[0] && place === this.present[1];
      const name = this.work.videos[video]?.id ?? "";
      const label = this.work.videos.length > 1 ? `${name} · ${place + 1}` : `frame ${place + 1}`;
      const kind = this.work.kind === "tasks" ? "row task" : "row";
      const button = element(
        "button",
        { type: "button", class: kind, title: `${label}: ${why}`, ...(present ? { "aria-current": "true" } : {}) },
        element("span", { class: "name" }, label),
        element("span", { class: "size" }, why),
      );
      button.addEventListener("click", () => this.go(video, place));
      return element("li", {}, button);
    });
    const more = this.items.length - rows.length;
    if (more > 0) rows.push(element("li", { class: "empty" }, `and ${more} more`));
    if (rows.length === 0) rows.push(element("li", { class: "empty" }, "Nothing is waiting."));
    this.list.replaceChildren(...rows);
  }
}
