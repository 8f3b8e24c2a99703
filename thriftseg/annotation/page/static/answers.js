/**
 * Finishing a frame, and what becomes of what was sent: stored, refused, waiting, or overtaken by others.
 */

import { api } from "./api.js";
import { renumber } from "./frame.js";

/** @typedef {import("./api.js").ApiError} ApiError */
/** @typedef {import("./outbox.js").Entry} Entry */
/** @typedef {import("./main.js").Page} Page */

export class Answers {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {string} verdict */
  finish(verdict) {
    if (!this.page.frame || !this.page.leased || this.page.finishing) return void this.page.mayEdit();
    if (this.page.tools.busy) {
      this.page.notices.say("Enter accepts what is begun, Esc discards it; then the frame can be finished.");
      return;
    }
    this.page.finishing = verdict;
    this.page.drawing.send("finish", 0, {}, null, verdict);
    this.page.refresh();
  }

  /** @param {Entry} entry @param {string} state @param {[number, number] | null} next */
  async finished(entry, state, next) {
    const video = this.page.outbox.hooks.find(entry.video);
    if (video >= 0) {
      this.page.mark([[video, entry.place, state, -1]]);
      this.page.player.forget(video, entry.place);
    }
    await this.page.queue.load();
    if (!this.isPresent(entry) || entry.session !== this.page.session) return;
    if (!this.page.finishing) return void this.page.visits.go(this.page.video, this.page.place); // it had to wait, and the person came back
    this.page.finishing = null;
    const said = { drawn: "Stored", accept: "Accepted", reject: "Rejected", lock: "Locked", unlock: "Unlocked" };
    const done = /** @type {Record<string, string>} */ (said)[entry.verdict ?? ""] ?? "Done";
    const stays = entry.verdict === "unlock" || entry.verdict === "lock";
    const [toVideo, toPlace] = (stays ? null : (next ?? this.page.queue.next())) ?? [this.page.video, this.page.place];
    const all = stays || this.page.queue.items.length ? "" : " Nothing else is waiting in this queue.";
    this.page.notices.say(`${done}: frame ${entry.place + 1}.${all}`);
    this.page.visits.go(toVideo, toPlace);
  }

  /** @param {Entry} entry @param {ApiError} error @param {boolean} heldBack its frame is not finished */
  refused(entry, error, heldBack) {
    const left = heldBack ? "The frame is not finished: look at it, and finish it again." : null;
    const told = [error.fix, left].filter((text) => text !== null).join(" ");
    this.page.notices.tell("refused", `The server did not take “${entry.action.tool}”: ${error.message}`, told || null);
    if (this.isPresent(entry)) {
      this.page.finishing = null;
      this.page.player.forget(this.page.video, this.page.place);
      this.page.visits.go(this.page.video, this.page.place);
    }
  }

  /** @param {Entry} entry @returns {boolean} whether it is about the frame that is shown */
  isPresent({ video, place }) {
    return this.page.outbox.hooks.find(video) === this.page.video && place === this.page.place;
  }

  /** A decision has to wait for what makes labels; the person does not. @param {Entry} entry */
  waits(entry) {
    if (!this.page.finishing || !this.isPresent(entry) || entry.session !== this.page.session) return;
    this.page.finishing = null;
    const item = this.page.queue.next();
    const [video, place] = item && (item[0] !== this.page.video || item[1] !== this.page.place) ? item : [this.page.video, this.page.place + 1];
    this.page.notices.say(`Kept: frame ${entry.place + 1} is decided when the labels are not written any more.`);
    if (place < (this.page.work.videos[video]?.frames ?? 0)) this.page.visits.go(video, place);
  }

  /** Actions on a frame that has changed since. @param {Entry[]} entries */
  outdated(entries) {
    const [first] = entries;
    if (!first) return;
    const kind = `outdated ${first.video}/${first.place}`;
    const count = entries.length === 1 ? "1 action is" : `${entries.length} actions are`;
    const frame = `frame ${first.place + 1}${this.page.work.videos.length > 1 ? ` of ${first.video}` : ""}`;
    const text = `${count} kept and not done: ${frame} has changed since it was opened in this window.`;
    this.page.notices.tell(kind, text, null, {
      "Do them on it as it is now": () => this.again(kind, entries),
      "Throw them away": () => {
        this.page.notices.clear(kind);
        this.page.outbox.drop(entries);
      },
    });
    if (this.isPresent(first)) {
      this.page.finishing = null;
      this.page.player.forget(this.page.video, this.page.place);
      this.page.visits.go(this.page.video, this.page.place);
    }
  }

  /** Do on the frame as it is now what was set aside. @param {string} kind @param {Entry[]} entries */
  async again(kind, entries) {
    const [first] = entries;
    const video = first ? this.page.outbox.hooks.find(first.video) : -1;
    if (!first || video < 0) return;
    try {
      const { version, objects } = await api.open(video, first.place, this.page.session, this.page.look.person);
      this.page.notices.clear(kind);
      renumber(entries.map(({ action }) => action), objects, (id) => this.page.palette.class(id)?.thing ?? false);
      this.page.outbox.again(entries, version);
      this.page.visits.go(video, first.place);
    } catch (error) {
      this.page.trouble(error);
    }
  }
}
