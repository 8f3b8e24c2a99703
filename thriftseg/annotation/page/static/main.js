/**
 * The page: one frame is open, tools change it, actions go to the server, and what others do comes back.
 */

import { api, ApiError, randomId } from "./api.js";
import { Answers } from "./answers.js";
import { ActiveClock, steadyNow } from "./clock.js";
import { Commands } from "./commands.js";
import { Drawing } from "./drawing.js";
import { find, input, show } from "./elements.js";
import { drawHelp, nameButtons } from "./keys.js";
import { Notices, draw, drawLegend } from "./notices.js";
import { Others } from "./others.js";
import { Outbox } from "./outbox.js";
import { Palette } from "./palette.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import { Timeline, drawShape } from "./timeline.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";
import { Visits } from "./visits.js";

/** @typedef {import("./api.js").Work} Work */
/** @typedef {import("./api.js").VideoState} VideoState */
/** @typedef {import("./frame.js").Frame} Frame */

export class Page {
  /** @param {Work} work @param {string} session */
  constructor(work, session) {
    this.work = work;
    this.session = session;
    this.look = { opacity: 65, safe: false, ghost: false, person: "", diameter: 16, ...readLook() };
    this.notices = new Notices();
    this.visits = new Visits(this);
    this.drawing = new Drawing(this);
    this.answers = new Answers(this);
    this.others = new Others(this);
    /** @type {Map<number, VideoState>} */
    this.videos = new Map();
    /** @type {Map<number, Map<number, number>>} video -> objects seen -> class */
    this.known = new Map();
    this.video = 0;
    this.place = 0;
    /** @type {Frame | null} */
    this.frame = null;
    this.leased = false;
    /** @type {string | null} of the present frame as it was opened */
    this.opened = null;
    /** Whether somebody else has the present frame. */
    this.taken = false;
    /** @type {string | null} verdict on its way */
    this.finishing = null;
    this.visit = 0;
    /** @type {number | undefined} */
    this.settling = undefined;
    this.cls = work.classes[0]?.id ?? 0;
    /** @type {number | null} the chosen object; none: the next action begins a new one */
    this.object = null;
    this.hidden = false;
    this.prompting = 0;
    this.pressed = false;
    this.refreshing = false;
    /** Seconds of actions on this frame that are taken already. */
    this.pending = 0;
    this.version = -1;
    this.workVersion = -1;
    this.alone = false;
    this.clock = new ActiveClock(steadyNow(), work.pause_s);
    this.palette = new Palette(work.classes, {
      choose: (cls) => this.drawing.chooseClass(cls),
      select: (object) => this.drawing.select(object),
      remove: (object) => this.drawing.remove(object),
      lock: (object) => this.drawing.lockObject(object),
      reclass: (object, cls) => this.drawing.reclass(object, cls),
    });
    this.tools = new Tools({
      frame: () => this.frame,
      editable: () => this.mayEdit(),
      target: () => this.drawing.target(),
      current: () => (this.object !== null && this.frame?.objects.has(this.object) ? this.object : null),
      select: (object) => this.drawing.select(object),
      commit: (tool, object, effort) => this.drawing.commit(tool, object, effort),
      prompt: (object, points, box, base) => this.drawing.prompt(object, points, box, base),
      hasPrompter: () => this.work.prompter !== null,
      propose: (patch) => this.view.showProposal(patch),
      redraw: () => this.refresh(),
    });
    this.tools.diameter = this.look.diameter;
    this.view = new View(find("stage"), {
      down: (at, negative) => this.tools.down(at, negative),
      move: (at) => this.tools.move(at),
      up: (at) => this.tools.up(at),
      cancel: () => void this.tools.discard(),
      marks: () => ({ ...this.tools.marks(), ...(this.view.cursor ? { cursor: this.view.cursor } : {}) }),
      pans: () => this.tools.name === "pan",
    });
    this.timeline = new Timeline(/** @type {HTMLCanvasElement} */ (find("timeline")), (place) => this.visits.go(this.video, place));
    this.queue = new Queue(session, work, (video, place) => this.visits.go(video, place));
    this.player = new Player(
      (place) => this.visits.go(this.video, place, false),
      (video) => `${this.outbox.hooks.scope}|${this.work.videos[video]?.id}|${this.work.videos[video]?.frames}`,
      (video, place) => this.outbox.has(video, place),
    );
    this.outbox = new Outbox(session, {
      scope: [work.kind, work.dataset, work.title].join("|"),
      find: (id) => this.work.videos.findIndex((video) => video.id === id),
      server: () => this.work.server,
      changed: (unsent, trouble) => this.notices.unsent(unsent, trouble),
      finished: (entry, state, next) => this.answers.finished(entry, state, next),
      refused: (entry, error, heldBack) => this.answers.refused(entry, error, heldBack),
      waits: (entry) => this.answers.waits(entry),
      outdated: (entries) => this.answers.outdated(entries),
    });
    this.commands = new Commands(this);
  }

  /** @returns {VideoState | undefined} */
  get state() {
    return this.videos.get(this.video);
  }

  get count() {
    return this.work.videos[this.video]?.frames ?? 0;
  }

  get objects() {
    const known = this.known.get(this.video) ?? new Map();
    this.known.set(this.video, known);
    return /** @type {Map<number, number>} */ (known);
  }

  /** @param {number} id @returns {number[]} */
  color = (id) => this.palette.color(id, this.frame?.objects.get(id)?.class ?? this.objects.get(id) ?? -1);

  /** @param {Frame} frame */
  showFrame(frame) {
    const first = this.frame === null || this.frame.width !== frame.width;
    this.frame = frame;
    for (const { id, class: cls } of frame.objects.values()) this.objects.set(id, cls);
    frame.onlyEmpty = this.alone;
    frame.onChange = (box) => this.view.showFrame(frame, this.color, box);
    if (this.object !== null && !frame.objects.has(this.object) && !this.objects.has(this.object)) this.object = null;
    if (this.object === null) this.drawing.chooseClass(this.cls);
    if (first) this.view.showBelow(null, this.color, frame);
    this.view.showFrame(frame, this.color);
    this.refresh();
  }

  mayEdit() {
    if (this.leased && !this.finishing && this.frame?.header.state !== "l") return true;
    const locked = this.leased && this.frame?.header.state === "l";
    this.notices.say(locked ? "This frame is locked. L unlocks it." : "One moment: this frame is not open yet.");
    return false;
  }

  /** @param {[number, number, string, number][]} frames video, place, state, confidence */
  mark(frames) {
    for (const [index, known] of this.videos) {
      const changed = frames.filter(([video]) => video === index);
      if (changed.length === 0) continue;
      const states = [...known.states];
      for (const [, place, state, confidence] of changed) {
        states[place] = state;
        known.confidence[place] = confidence;
      }
      known.states = states.join("");
      if (index === this.video) this.timeline.show(known, this.place);
    }
  }

  /** @param {unknown} error */
  trouble(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0) this.notices.connectionLost();
    else if (error.status === 401 || error.status === 403) this.notices.signedOut();
    else this.notices.tell("error", error.message, error.fix);
  }

  /** @param {number} percent */
  setOpacity(percent) {
    this.look.opacity = Math.min(100, Math.max(10, percent));
  }

  /** Bring everything but the pixels of the frame up to date; cheap enough for every action. */
  refresh() {
    if (this.refreshing) return;
    this.refreshing = true;
    requestAnimationFrame(() => {
      this.refreshing = false;
      this.draw();
    });
  }

  draw() {
    const { frame, tools, look } = this;
    look.diameter = tools.diameter;
    localStorage.setItem("thriftseg.look", JSON.stringify(look));
    this.view.redraw();
    this.palette.safe = look.safe;
    this.palette.drawClasses(this.cls);
    if (frame) this.palette.drawObjects(frame, this.objects, this.object, this.leased && !this.finishing);
    draw(this);
  }

  /** Redraw in other colours. */
  recolor() {
    this.palette.safe = this.look.safe;
    if (this.frame) this.view.showFrame(this.frame, this.color);
    this.visits.showGhost();
    this.refresh();
  }

  /** Fill the list of videos, or tasks. @param {number} chosen */
  nameVideos(chosen) {
    const { videos, kind } = this.work;
    const choice = input("video");
    choice.replaceChildren(...videos.map(({ id }, index) => new Option(id, String(index), index === chosen, index === chosen)));
    choice.setAttribute("aria-label", kind === "tasks" ? "Tasks" : "Video");
    show(choice, videos.length > 1);
  }

  async start() {
    this.look.person ||= this.work.person;
    input("person").value = this.look.person;
    input("safe").checked = this.look.safe;
    this.palette.safe = this.look.safe;
    find("title").textContent = document.title = this.work.title;
    this.nameVideos(0);
    if (!this.work.prompter) this.tools.name = "polygon";
    this.commands.listen();
    const kept = await this.outbox.start();
    if (kept) this.notices.say(`Sending ${kept} action${kept === 1 ? "" : "s"} kept from last time.`);
    const [video = 0, place = 0] = location.hash.slice(1).split("/").map(Number);
    const known = this.work.videos[video];
    await this.visits.go(known ? video : 0, known && place >= 0 && place < known.frames ? place : 0);
    this.queue.load();
    this.others.poll();
    setInterval(() => draw(this), 1000);
  }
}

/** @returns {object} how the person likes the page, as kept by this browser */
function readLook() {
  try {
    return JSON.parse(localStorage.getItem("thriftseg.look") ?? "{}");
  } catch {
    return {};
  }
}

nameButtons();
drawHelp(find("help-sheet"));
drawLegend(drawShape);
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname + location.hash);
api.work().then(
  (work) => new Page(work, randomId()).start(),
  (error) => {
    const notices = new Notices();
    if (error instanceof ApiError && error.status) notices.signedOut();
    else notices.connectionLost();
  },
);
