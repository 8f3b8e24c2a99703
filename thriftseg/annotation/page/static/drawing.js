/**
 * Drawing on the open frame: objects and their classes, and the actions that go to the server.
 */

import { api, randomId } from "./api.js";

/** @typedef {import("./frame.js").Patch} Patch */
/** @typedef {import("./tools.js").Effort} Effort */
/** @typedef {import("./main.js").Page} Page */

export class Drawing {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {number} cls */
  chooseClass(cls) {
    this.page.cls = cls;
    const thing = this.page.palette.class(cls)?.thing;
    const of = (/** @type {[number, number]} */ [, other]) => other === cls;
    const here = [...(this.page.frame?.objects.values() ?? [])].filter((row) => row.class === cls);
    const present = here.filter(({ id }) => this.page.frame?.pixels[id]).at(-1) ?? here.at(-1);
    this.page.object = present?.id ?? (thing ? null : ([...this.page.objects].find(of)?.[0] ?? null));
    this.page.tools.retarget(this.page.object);
    this.page.refresh();
  }

  /** @param {number} object */
  select(object) {
    this.page.object = object;
    this.page.cls = this.page.frame?.objects.get(object)?.class ?? this.page.objects.get(object) ?? this.page.cls;
    this.page.tools.retarget(object);
    this.page.refresh();
  }

  /** The object that the next change goes to, begun where there is none. @returns {number} */
  target() {
    const { frame } = this.page;
    if (!frame) return 0;
    if (this.page.object === null) this.page.object = Math.max(0, ...this.page.objects.keys(), ...frame.objects.keys()) + 1;
    if (!frame.objects.has(this.page.object)) frame.begin(this.page.object, this.page.objects.get(this.page.object) ?? this.page.cls);
    this.page.objects.set(this.page.object, frame.objects.get(this.page.object)?.class ?? this.page.cls);
    return this.page.object;
  }

  begin() {
    const thing = this.page.palette.class(this.page.cls)?.thing;
    if (thing) this.page.object = null;
    this.page.tools.retarget(this.page.object);
    this.page.notices.say(thing ? "The next stroke or click begins a new instance." : "This class is one area: it has no instances.");
    this.page.refresh();
  }

  /** @param {number} object */
  remove(object) {
    const { frame } = this.page;
    this.page.tools.discard(); // a stroke in the middle would become a part of it
    const box = frame?.bounds(object);
    if (!frame || !box || !this.page.mayEdit() || frame.objects.get(object)?.locked) return;
    const { ids, width } = frame;
    for (let y = box.top; y < box.bottom; y++) {
      for (let x = box.left; x < box.right; x++) if (ids[y * width + x] === object) frame.paint(y, x, x + 1, 0);
    }
    this.commit("delete", object, {});
  }

  /** @param {number} object @param {number} cls */
  reclass(object, cls) {
    const { frame } = this.page;
    const row = frame?.objects.get(object);
    if (!frame || !row || row.class === cls || row.locked || !this.page.mayEdit()) return;
    const change = { object, before: row.class, after: cls };
    frame.remember(change);
    frame.setClass(object, cls);
    this.sendClass(change);
  }

  /** @param {{object: number, after: number}} change */
  sendClass({ object, after }) {
    this.page.objects.set(object, after);
    this.page.cls = after;
    this.send("class", object, {}, null);
    this.page.refresh();
  }

  /** @param {number} object */
  async lockObject(object) {
    const { frame, video, place } = this.page;
    const row = frame?.objects.get(object);
    if (!row) return;
    try {
      await this.page.outbox.empty([video, place]);
      await api.lockObject(video, place, object, !row.locked);
      row.locked = !row.locked;
    } catch (error) {
      this.page.trouble(error);
    }
    this.page.refresh();
  }

  /** What a tool has painted becomes an action. @param {string} tool @param {number} object @param {Effort} effort */
  commit(tool, object, effort) {
    const change = this.page.frame?.commit();
    if (!change) return;
    this.page.frame?.remember(change);
    this.send(tool, object, effort, change.forward);
    this.page.refresh();
  }

  /** @param {"undo" | "redo"} direction */
  step(direction) {
    if (direction === "undo" && this.page.tools.back()) return;
    if (!this.page.frame || !this.page.mayEdit()) return;
    this.page.tools.discard();
    const change = this.page.frame.step(direction);
    if (!change) this.page.notices.say(direction === "undo" ? "There is nothing to undo." : "There is nothing to redo.");
    else if ("object" in change) this.sendClass(change);
    else this.send(direction, this.page.object ?? 0, {}, change.forward);
    this.page.refresh();
  }

  /**
   * @param {string} tool @param {number} object @param {Effort} effort @param {Patch | null} patch
   * @param {string | null} [verdict]
   */
  send(tool, object, effort, patch, verdict = null) {
    const { frame } = this.page;
    const row = frame?.objects.get(object);
    const stretch = this.page.clock.take();
    this.page.pending += stretch.seconds;
    this.page.outbox.add({
      scope: this.page.outbox.hooks.scope,
      session: this.page.session,
      person: this.page.look.person,
      video: this.page.work.videos[this.page.video]?.id ?? "",
      place: this.page.place,
      version: this.page.opened,
      verdict,
      action: {
        id: randomId(),
        tool,
        object: object || null,
        class: row?.class ?? null,
        ...stretch,
        ...{ clicks: 0, vertices: 0, strokes: 0, ...effort },
        objects: tool === "class" && row ? [[object, row.class]] : (frame?.fresh.splice(0) ?? []),
        patch,
      },
    });
    const states = this.page.state;
    if (states && patch) this.page.mark([[this.page.video, this.page.place, "w", states.confidence[this.page.place] ?? -1]]);
  }

  /**
   * @param {number | null} object @param {[number, number, boolean][]} points
   * @param {[number, number, number, number] | null} box @param {Patch | null} base
   * @returns {Promise<Patch | null>}
   */
  async prompt(object, points, box, base) {
    if (!this.page.work.prompter) {
      this.page.notices.say("There is no model to answer clicks here. Brush and polygon work.");
      this.page.tools.discard();
      return null;
    }
    this.page.prompting++;
    this.page.refresh();
    try {
      const { session, video, place } = this.page;
      if (this.page.work.kind === "tasks") await this.page.outbox.empty([video, place]); // clicks may go on from those
      return (await api.prompt({ session, video, place, object, points, box, base })).patch;
    } catch (error) {
      this.page.trouble(error);
      return null;
    } finally {
      this.page.prompting--;
      this.page.refresh();
    }
  }
}
