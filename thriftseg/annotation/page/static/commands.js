/**
 * Keys and buttons, and what they are to do.
 */

import { api } from "./api.js";
import { find, input } from "./elements.js";
import { keyName, rowOf } from "./keys.js";

/** @typedef {import("./tools.js").ToolName} ToolName */
/** @typedef {import("./main.js").Page} Page */

export class Commands {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.table = this.commandTable();
  }

  /** @param {ToolName} name */
  choose(name) {
    if (name === "click" && !this.page.work.prompter) this.page.notices.say("There is no model to answer clicks here. Brush and polygon work.");
    else this.page.tools.choose(name);
    this.page.refresh();
  }

  /** @returns {Record<string, (key: string) => void>} */
  commandTable() {
    const { tools } = this.page;
    /** @type {Record<string, (key: string) => void>} */
    const table = {
      "brush:-": () => tools.resize(-1),
      "brush:+": () => tools.resize(1),
      empty: () => {
        this.page.alone = !this.page.alone;
        if (this.page.frame) this.page.frame.onlyEmpty = this.page.alone;
      },
      class: (key) => this.classOfKey(key, (cls) => this.page.drawing.chooseClass(cls)),
      reclass: (key) => this.classOfKey(key.slice(-1), (cls) => this.page.object !== null && this.page.drawing.reclass(this.page.object, cls)),
      new: () => this.page.drawing.begin(),
      delete: () => this.page.object !== null && this.page.drawing.remove(this.page.object),
      "object:lock": () => this.page.object !== null && this.page.drawing.lockObject(this.page.object),
      accept: () => tools.accept(),
      finish: () => this.page.answers.finish("drawn"),
      discard: () => {
        if (!tools.discard()) this.page.notices.clearAll();
      },
      back: () => tools.back(),
      undo: () => this.page.drawing.step("undo"),
      redo: () => this.page.drawing.step("redo"),
      previous: () => this.page.visits.go(this.page.video, Math.max(0, this.page.place - 1)),
      next: () => this.page.visits.go(this.page.video, Math.min(this.page.count - 1, this.page.place + 1)),
      first: () => this.page.visits.go(this.page.video, 0),
      last: () => this.page.visits.go(this.page.video, this.page.count - 1),
      play: () => this.page.visits.play(),
      queue: () => this.page.visits.nextInQueue(),
      propagate: () => this.askPropagate(),
      "review:accept": () => this.page.answers.finish("accept"),
      "review:reject": () => this.page.answers.finish("reject"),
      "review:lock": () => this.page.answers.finish(this.page.frame?.header.state === "l" ? "unlock" : "lock"),
      hide: () => {
        this.page.hidden = !this.page.hidden;
      },
      ghost: () => {
        this.page.look.ghost = !this.page.look.ghost;
        this.page.visits.showGhost();
      },
      "opacity:+": () => this.page.setOpacity(this.page.look.opacity + 10),
      "opacity:-": () => this.page.setOpacity(this.page.look.opacity - 10),
      fit: () => this.page.view.fit(),
      "zoom:+": () => this.page.view.zoom(1.25),
      "zoom:-": () => this.page.view.zoom(0.8),
      help: () => /** @type {HTMLDialogElement} */ (find("help")).showModal(),
      cursor: (key) => this.moveCursor(key, 1),
      "cursor:fast": (key) => this.moveCursor(key, 10),
      press: () => this.press(false),
      "press:negative": () => this.press(true),
    };
    const names = /** @type {ToolName[]} */ (["pan", "click", "box", "polygon", "brush", "eraser", "fill", "ignore"]);
    for (const name of names) table[`tool:${name}`] = () => this.choose(name);
    return table;
  }

  /** @param {string} name @param {string} [key] */
  command(name, key = "") {
    this.page.clock.sign();
    this.table[name]?.(key);
    this.page.refresh();
  }

  /** @param {string} digit @param {(cls: number) => void} act */
  classOfKey(digit, act) {
    const row = this.page.work.classes[(Number(digit) + 9) % 10];
    if (row) act(row.id);
  }

  /** @param {string} key @param {number} step in pixels of the frame */
  moveCursor(key, step) {
    const { frame } = this.page;
    if (!frame) return;
    const from = this.page.view.cursor ?? { x: Math.floor(frame.width / 2) + 0.5, y: Math.floor(frame.height / 2) + 0.5 };
    const dx = key.endsWith("Left") ? -step : key.endsWith("Right") ? step : 0;
    const dy = key.endsWith("Up") ? -step : key.endsWith("Down") ? step : 0;
    this.page.view.cursor = {
      x: Math.min(frame.width - 0.5, Math.max(0.5, from.x + dx)),
      y: Math.min(frame.height - 0.5, Math.max(0.5, from.y + dy)),
    };
    this.page.tools.move(this.page.view.cursor);
  }

  /** @param {boolean} negative */
  press(negative) {
    if (!this.page.view.cursor) this.moveCursor("", 0);
    if (this.page.view.cursor && !this.page.pressed) {
      this.page.pressed = true;
      this.page.tools.down(this.page.view.cursor, negative);
    }
  }

  release() {
    this.page.pressed = false;
    if (this.page.view.cursor) this.page.tools.up(this.page.view.cursor);
  }

  askPropagate() {
    const states = this.page.state?.states ?? "";
    if (!this.page.work.propagator) return this.page.notices.say("There is no propagator here.");
    let last = this.page.place + 1;
    while (last < this.page.count - 1 && !"drl".includes(states[last] ?? "")) last++;
    find("propagate-text").textContent =
      `${this.page.work.propagator.name} carries the labels of finished frames to the frames between them. ` +
      "What was drawn, reviewed or locked stays as it is.";
    for (const id of ["propagate-first", "propagate-last"]) input(id).max = String(this.page.count);
    input("propagate-first").value = String(this.page.place + 1);
    input("propagate-last").value = String(Math.min(this.page.count, last + 1));
    const dialog = /** @type {HTMLDialogElement} */ (find("propagate"));
    dialog.returnValue = "";
    dialog.showModal();
  }

  async propagate() {
    const { video } = this.page;
    const [first = 0, last = 0] = ["propagate-first", "propagate-last"].map((id) => Number(input(id).value) - 1);
    try {
      await this.page.outbox.empty();
      await api.propagate(video, first, last);
      this.page.notices.say("The labels are being carried on. You can go on working.");
    } catch (error) {
      this.page.trouble(error);
    }
  }

  listen() {
    for (const kind of ["pointermove", "pointerdown", "wheel", "keydown"]) {
      addEventListener(kind, () => this.page.clock.sign(), { capture: true, passive: true });
    }
    document.addEventListener("visibilitychange", () => this.page.clock.setHidden(document.hidden));
    addEventListener("pagehide", () => api.leave(this.page.session));
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => this.keyUp(event));
    document.addEventListener("click", (event) => {
      const button = /** @type {Element} */ (event.target).closest("[data-command]");
      if (button) this.command(button.getAttribute("data-command") ?? "");
    });
    input("person").addEventListener("change", () => {
      this.page.look.person = input("person").value.trim() || this.page.work.person;
      this.page.refresh();
    });
    input("safe").addEventListener("change", () => {
      this.page.look.safe = input("safe").checked;
      this.page.recolor();
    });
    input("opacity").addEventListener("input", () => {
      this.page.setOpacity(Number(input("opacity").value));
      this.page.refresh();
    });
    document.addEventListener("change", ({ target }) => {
      const chosen = target instanceof HTMLSelectElement && !target.matches(":focus-visible"); // by the pointer
      if (chosen) find("stage").focus(); // so that keys are those of the page again
    });
    input("video").addEventListener("change", () => this.page.visits.go(Number(input("video").value), 0));
    find("absent").addEventListener("click", () => this.page.answers.finish("absent"));
    find("job-cancel").addEventListener("click", () => api.cancel().catch((error) => this.page.trouble(error)));
    const dialog = /** @type {HTMLDialogElement} */ (find("propagate"));
    dialog.addEventListener("close", () => dialog.returnValue === "start" && this.propagate());
  }

  /** @param {KeyboardEvent} event */
  keyDown(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (document.querySelector("dialog[open]") || target.matches("input:not([type=checkbox]):not([type=range]), select")) return;
    const name = keyName(event);
    const onButton = target.matches("button, input");
    if (onButton && ["Space", "Enter"].includes(name)) return;
    if (target.matches("input[type=range]") && name.startsWith("Arrow")) return;
    const row = rowOf(name);
    if (!row) return;
    event.preventDefault();
    if (name === "Space") {
      if (!event.repeat) this.page.view.spaceUsed = false;
      this.page.view.spaceHeld = true;
      return;
    }
    if (event.repeat && !/^(cursor|previous|next|undo|redo|brush|opacity|zoom)/.test(row.command)) return;
    this.command(row.command, name);
  }

  /** @param {KeyboardEvent} event */
  keyUp(event) {
    if (event.key === " " && this.page.view.spaceHeld) {
      this.page.view.spaceHeld = false;
      if (!this.page.view.spaceUsed) this.command("play");
    }
    if (event.key.toLowerCase() === "x" && this.page.pressed) this.release();
  }
}
