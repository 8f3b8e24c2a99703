/**
 * The page: one frame is open, tools change it, actions go to the server, and what others do comes back.
 */

import { api, ApiError, randomId } from "./api.js";
import { ActiveClock, steadyNow } from "./clock.js";
import { renumber } from "./frame.js";
import { drawHelp, keyName, nameButtons, rowOf } from "./keys.js";
import { Notices, draw, drawLegend, show } from "./notices.js";
import { Outbox } from "./outbox.js";
import { Palette } from "./palette.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import { Timeline, drawShape } from "./timeline.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

/** @typedef {import("./api.js").Work} Work */
/** @typedef {import("./api.js").VideoState} VideoState */
/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./frame.js").Patch} Patch */
/** @typedef {import("./frame.js").Change} Change */
/** @typedef {import("./tools.js").ToolName} ToolName */
/** @typedef {import("./tools.js").Effort} Effort */

const SETTLE_MS = 120; // a frame is leased when the person stays on it, not while scrubbing
const POLL_MS = 1000;
const RETRY_MS = 3000;

/** @param {string} id @returns {HTMLElement} */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id @returns {HTMLInputElement} */
const input = (id) => /** @type {HTMLInputElement} */ (find(id));

class Page {
  /** @param {Work} work @param {string} session */
  constructor(work, session) {
    this.work = work;
    this.session = session;
    this.look = { opacity: 65, safe: false, ghost: false, person: "", diameter: 16, ...readLook() };
    this.notices = new Notices();
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
      choose: (cls) => this.chooseClass(cls),
      select: (object) => this.select(object),
      remove: (object) => this.remove(object),
      lock: (object) => this.lockObject(object),
      reclass: (object, cls) => this.reclass(object, cls),
    });
    this.tools = new Tools({
      frame: () => this.frame,
      editable: () => this.mayEdit(),
      target: () => this.target(),
      current: () => (this.object !== null && this.frame?.objects.has(this.object) ? this.object : null),
      select: (object) => this.select(object),
      commit: (tool, object, effort) => this.commit(tool, object, effort),
      prompt: (object, points, box, base) => this.prompt(object, points, box, base),
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
    this.timeline = new Timeline(/** @type {HTMLCanvasElement} */ (find("timeline")), (place) => this.go(this.video, place));
    this.queue = new Queue(session, work, (video, place) => this.go(video, place));
    this.player = new Player(
      (place) => this.go(this.video, place, false),
      (video) => `${this.outbox.hooks.scope}|${this.work.videos[video]?.id}|${this.work.videos[video]?.frames}`,
      (video, place) => this.outbox.has(video, place),
    );
    this.outbox = new Outbox(session, {
      scope: [work.kind, work.dataset, work.title].join("|"),
      find: (id) => this.work.videos.findIndex((video) => video.id === id),
      server: () => this.work.server,
      changed: (unsent, trouble) => this.notices.unsent(unsent, trouble),
      finished: (entry, state, next) => this.finished(entry, state, next),
      refused: (entry, error, heldBack) => this.refused(entry, error, heldBack),
      waits: (entry) => this.waits(entry),
      outdated: (entries) => this.outdated(entries),
    });
    this.commands = this.commandTable();
  }

  // ------------------------------------------------------------------ frames

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

  /**
   * Show a frame; it is opened for drawing when the person stays.
   * @param {number} video @param {number} place
   * @param {boolean} [stay] false while playing
   */
  async go(video, place, stay = true) {
    if (stay) this.player.stop();
    this.leave();
    const visit = ++this.visit;
    const changed = video !== this.video || !this.videos.has(video);
    this.video = video;
    this.place = place;
    this.frame = null;
    try {
      if (changed) {
        const state = await api.video(video);
        state.leases = {}; // our own among them; those of others come every second
        this.videos.set(video, state);
        for (const [id, cls] of state.objects ?? []) this.objects.set(id, cls);
      }
      if (visit !== this.visit) return;
      this.timeline.show(this.state ?? this.timeline.state, place);
      const size = this.work.videos[video];
      this.player.pixels = size ? size.height * size.width : 1;
      const fetched = this.player.get(video, place);
      const [image, frame] = await Promise.all([fetched.image, fetched.label]);
      if (visit !== this.visit) return;
      this.view.showImage(image);
      this.showFrame(frame);
    } catch (error) {
      this.settling = setTimeout(() => this.go(video, place, stay), RETRY_MS);
      this.trouble(error);
      return;
    }
    this.notices.clear("error");
    history.replaceState(null, "", `#${video}/${place}`);
    this.queue.showPresent(video, place);
    if (stay) this.settling = setTimeout(() => this.open(visit), SETTLE_MS);
  }

  /** End the present visit: the lease goes back when all is sent. */
  leave() {
    clearTimeout(this.settling);
    this.tools.discard();
    this.taken = false;
    this.notices.clear("lease");
    if (!this.leased) return;
    this.leased = false;
    const { video, place } = this;
    this.player.forget(video, place);
    this.outbox.empty([video, place]).then(() => {
      if (this.video !== video || this.place !== place) api.close(video, place, this.session).catch(() => {});
    });
  }

  /** @param {number} visit */
  async open(visit) {
    const { video, place } = this;
    this.taken = false;
    this.clock.restart();
    this.pending = 0;
    let opened = false;
    try {
      await this.outbox.empty([video, place]);
      if (visit !== this.visit) return;
      this.player.fetchAhead(video, place, this.count);
      const { version } = await api.open(video, place, this.session, this.look.person);
      opened = true;
      const frame = await api.label(video, place);
      if (visit !== this.visit) {
        await api.close(video, place, this.session);
        return;
      }
      this.leased = true;
      this.opened = version;
      this.taken = false;
      this.finishing = null;
      this.notices.clear("lease");
      this.showFrame(frame);
      this.showGhost();
      this.chooseTaskTool(frame);
    } catch (error) {
      const ours = this.leased && this.video === video && this.place === place;
      if (opened && !ours) api.close(video, place, this.session).catch(() => {}); // nobody else would
      if (visit !== this.visit) return;
      if (error instanceof ApiError && error.status === 409) {
        this.taken = true;
        this.notices.tell("lease", error.message, "You can look at it; it opens here as soon as it is free.");
      } else this.trouble(error);
      this.settling = setTimeout(() => this.open(visit), RETRY_MS);
    }
    this.refresh();
  }

  /** @param {Frame} frame */
  showFrame(frame) {
    const first = this.frame === null || this.frame.width !== frame.width;
    this.frame = frame;
    for (const { id, class: cls } of frame.objects.values()) this.objects.set(id, cls);
    frame.onlyEmpty = this.alone;
    frame.onChange = (box) => this.view.showFrame(frame, this.color, box);
    if (this.object !== null && !frame.objects.has(this.object) && !this.objects.has(this.object)) this.object = null;
    if (this.object === null) this.chooseClass(this.cls);
    if (first) this.view.showBelow(null, this.color, frame);
    this.view.showFrame(frame, this.color);
    this.refresh();
  }

  /** The nearest labelled frame before this one, or else after it, below the present one. */
  async showGhost() {
    const { frame, visit } = this;
    const states = this.state?.states ?? "";
    if (!frame) return;
    let near = -1;
    for (let distance = 1; this.look.ghost && near < 0 && distance < states.length; distance++) {
      near = [this.place - distance, this.place + distance].find((place) => "mwdrl".includes(states[place] ?? "-")) ?? -1;
    }
    const ghost = near < 0 ? null : await this.player.get(this.video, near).label.catch(() => null);
    if (visit === this.visit && this.frame) this.view.showBelow(ghost, this.color, this.frame);
  }

  /** @param {Frame} frame */
  chooseTaskTool(frame) {
    const { task } = frame.header;
    if (!task) return;
    /** @type {Record<string, ToolName>} */
    const tools = { region: "polygon", mask: "brush", clicks: "click" };
    this.choose(tools[task.kind] ?? "click");
  }

  mayEdit() {
    if (this.leased && !this.finishing && this.frame?.header.state !== "l") return true;
    const locked = this.leased && this.frame?.header.state === "l";
    this.notices.say(locked ? "This frame is locked. L unlocks it." : "One moment: this frame is not open yet.");
    return false;
  }

  // ----------------------------------------------------------------- objects

  /** @param {number} cls */
  chooseClass(cls) {
    this.cls = cls;
    const thing = this.palette.class(cls)?.thing;
    const of = (/** @type {[number, number]} */ [, other]) => other === cls;
    const here = [...(this.frame?.objects.values() ?? [])].filter((row) => row.class === cls);
    const present = here.filter(({ id }) => this.frame?.pixels[id]).at(-1) ?? here.at(-1);
    this.object = present?.id ?? (thing ? null : ([...this.objects].find(of)?.[0] ?? null));
    this.tools.retarget(this.object);
    this.refresh();
  }

  /** @param {number} object */
  select(object) {
    this.object = object;
    this.cls = this.frame?.objects.get(object)?.class ?? this.objects.get(object) ?? this.cls;
    this.tools.retarget(object);
    this.refresh();
  }

  /** The object that the next change goes to, begun where there is none. @returns {number} */
  target() {
    const { frame } = this;
    if (!frame) return 0;
    if (this.object === null) this.object = Math.max(0, ...this.objects.keys(), ...frame.objects.keys()) + 1;
    if (!frame.objects.has(this.object)) frame.begin(this.object, this.objects.get(this.object) ?? this.cls);
    this.objects.set(this.object, frame.objects.get(this.object)?.class ?? this.cls);
    return this.object;
  }

  begin() {
    const thing = this.palette.class(this.cls)?.thing;
    if (thing) this.object = null;
    this.tools.retarget(this.object);
    this.notices.say(thing ? "The next stroke or click begins a new instance." : "This class is one area: it has no instances.");
    this.refresh();
  }

  /** @param {number} object */
  remove(object) {
    const { frame } = this;
    this.tools.discard(); // a stroke in the middle would become a part of it
    const box = frame?.bounds(object);
    if (!frame || !box || !this.mayEdit() || frame.objects.get(object)?.locked) return;
    const { ids, width } = frame;
    for (let y = box.top; y < box.bottom; y++) {
      for (let x = box.left; x < box.right; x++) if (ids[y * width + x] === object) frame.paint(y, x, x + 1, 0);
    }
    this.commit("delete", object, {});
  }

  /** @param {number} object @param {number} cls */
  reclass(object, cls) {
    const { frame } = this;
    const row = frame?.objects.get(object);
    if (!frame || !row || row.class === cls || row.locked || !this.mayEdit()) return;
    const change = { object, before: row.class, after: cls };
    frame.remember(change);
    frame.setClass(object, cls);
    this.sendClass(change);
  }

  /** @param {{object: number, after: number}} change */
  sendClass({ object, after }) {
    this.objects.set(object, after);
    this.cls = after;
    this.send("class", object, {}, null);
    this.refresh();
  }

  /** @param {number} object */
  async lockObject(object) {
    const row = this.frame?.objects.get(object);
    if (!row) return;
    try {
      await this.outbox.empty([this.video, this.place]);
      await api.lockObject(this.video, this.place, object, !row.locked);
      row.locked = !row.locked;
    } catch (error) {
      this.trouble(error);
    }
    this.refresh();
  }

  // ----------------------------------------------------------------- actions

  /** What a tool has painted becomes an action. @param {string} tool @param {number} object @param {Effort} effort */
  commit(tool, object, effort) {
    const change = this.frame?.commit();
    if (!change) return;
    this.frame?.remember(change);
    this.send(tool, object, effort, change.forward);
    this.refresh();
  }

  /** @param {"undo" | "redo"} direction */
  step(direction) {
    if (direction === "undo" && this.tools.back()) return;
    if (!this.frame || !this.mayEdit()) return;
    this.tools.discard();
    const change = this.frame.step(direction);
    if (!change) this.notices.say(direction === "undo" ? "There is nothing to undo." : "There is nothing to redo.");
    else if ("object" in change) this.sendClass(change);
    else this.send(direction, this.object ?? 0, {}, change.forward);
    this.refresh();
  }

  /**
   * @param {string} tool @param {number} object @param {Effort} effort @param {Patch | null} patch
   * @param {string | null} [verdict]
   */
  send(tool, object, effort, patch, verdict = null) {
    const { frame } = this;
    const row = frame?.objects.get(object);
    const stretch = this.clock.take();
    this.pending += stretch.seconds;
    this.outbox.add({
      scope: this.outbox.hooks.scope,
      session: this.session,
      person: this.look.person,
      video: this.work.videos[this.video]?.id ?? "",
      place: this.place,
      version: this.opened,
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
    const states = this.state;
    if (states && patch) this.mark([[this.video, this.place, "w", states.confidence[this.place] ?? -1]]);
  }

  /**
   * @param {number | null} object @param {[number, number, boolean][]} points
   * @param {[number, number, number, number] | null} box @param {Patch | null} base
   * @returns {Promise<Patch | null>}
   */
  async prompt(object, points, box, base) {
    if (!this.work.prompter) {
      this.notices.say("There is no model to answer clicks here. Brush and polygon work.");
      this.tools.discard();
      return null;
    }
    this.prompting++;
    this.refresh();
    try {
      const { session, video, place } = this;
      return (await api.prompt({ session, video, place, object, points, box, base })).patch;
    } catch (error) {
      this.trouble(error);
      return null;
    } finally {
      this.prompting--;
      this.refresh();
    }
  }

  /** @param {string} verdict */
  finish(verdict) {
    if (!this.frame || !this.leased || this.finishing) return void this.mayEdit();
    if (this.tools.busy) {
      this.notices.say("Enter accepts what is begun, Esc discards it; then the frame can be finished.");
      return;
    }
    this.finishing = verdict;
    this.send("finish", 0, {}, null, verdict);
    this.refresh();
  }

  /** @param {import("./outbox.js").Entry} entry @param {string} state @param {[number, number] | null} next */
  async finished(entry, state, next) {
    const video = this.outbox.hooks.find(entry.video);
    if (video >= 0) {
      this.mark([[video, entry.place, state, -1]]);
      this.player.forget(video, entry.place);
    }
    await this.queue.load();
    if (!this.isPresent(entry) || entry.session !== this.session) return;
    if (!this.finishing) return void this.go(this.video, this.place); // it had to wait, and the person came back
    this.finishing = null;
    const said = { drawn: "Stored", accept: "Accepted", reject: "Rejected", lock: "Locked", unlock: "Unlocked" };
    const done = /** @type {Record<string, string>} */ (said)[entry.verdict ?? ""] ?? "Done";
    const stays = entry.verdict === "unlock" || entry.verdict === "lock";
    const [toVideo, toPlace] = (stays ? null : (next ?? this.queue.next())) ?? [this.video, this.place];
    const all = stays || this.queue.items.length ? "" : " Nothing else is waiting in this queue.";
    this.notices.say(`${done}: frame ${entry.place + 1}.${all}`);
    this.go(toVideo, toPlace);
  }

  /** @param {import("./outbox.js").Entry} entry @param {ApiError} error @param {boolean} heldBack its frame is not finished */
  refused(entry, error, heldBack) {
    const left = heldBack ? "The frame is not finished: look at it, and finish it again." : null;
    const told = [error.fix, left].filter((text) => text !== null).join(" ");
    this.notices.tell("refused", `The server did not take “${entry.action.tool}”: ${error.message}`, told || null);
    if (this.isPresent(entry)) {
      this.finishing = null;
      this.player.forget(this.video, this.place);
      this.go(this.video, this.place);
    }
  }

  /** @param {import("./outbox.js").Entry} entry @returns {boolean} whether it is about the frame that is shown */
  isPresent({ video, place }) {
    return this.outbox.hooks.find(video) === this.video && place === this.place;
  }

  /** A decision has to wait for what makes labels; the person does not. @param {import("./outbox.js").Entry} entry */
  waits(entry) {
    if (!this.finishing || !this.isPresent(entry) || entry.session !== this.session) return;
    this.finishing = null;
    const item = this.queue.next();
    const [video, place] = item && (item[0] !== this.video || item[1] !== this.place) ? item : [this.video, this.place + 1];
    this.notices.say(`Kept: frame ${entry.place + 1} is decided when the labels are not written any more.`);
    if (place < (this.work.videos[video]?.frames ?? 0)) this.go(video, place);
  }

  /** Actions on a frame that has changed since. @param {import("./outbox.js").Entry[]} entries */
  outdated(entries) {
    const [first] = entries;
    if (!first) return;
    const kind = `outdated ${first.video}/${first.place}`;
    const count = entries.length === 1 ? "1 action is" : `${entries.length} actions are`;
    const frame = `frame ${first.place + 1}${this.work.videos.length > 1 ? ` of ${first.video}` : ""}`;
    const text = `${count} kept and not done: ${frame} has changed since it was opened in this window.`;
    this.notices.tell(kind, text, null, {
      "Do them on it as it is now": () => this.again(kind, entries),
      "Throw them away": () => {
        this.notices.clear(kind);
        this.outbox.drop(entries);
      },
    });
    if (this.isPresent(first)) {
      this.finishing = null;
      this.player.forget(this.video, this.place);
      this.go(this.video, this.place);
    }
  }

  /** Do on the frame as it is now what was set aside. @param {string} kind @param {import("./outbox.js").Entry[]} entries */
  async again(kind, entries) {
    const [first] = entries;
    const video = first ? this.outbox.hooks.find(first.video) : -1;
    if (!first || video < 0) return;
    try {
      const { version, objects } = await api.open(video, first.place, this.session, this.look.person);
      this.notices.clear(kind);
      renumber(entries.map(({ action }) => action), objects, (id) => this.palette.class(id)?.thing ?? false);
      this.outbox.again(entries, version);
      this.go(video, first.place);
    } catch (error) {
      this.trouble(error);
    }
  }

  // ------------------------------------------------------------------ others

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

  async poll() {
    try {
      const changes = await api.changes(this.version, this.session);
      const restarted = changes.server !== this.work.server;
      const anew = restarted || (this.workVersion >= 0 && changes.work_version !== this.workVersion);
      if (anew) await this.reloadWork(restarted);
      else this.take(changes);
      if (this.version < 0) await this.reload();
      this.version = changes.version;
      this.workVersion = changes.work_version;
      this.notices.clear("connection");
      this.notices.clear("signed-out");
      if (this.outbox.trouble?.status !== 503) this.outbox.run();
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) this.notices.connectionLost();
      else this.trouble(error);
    } finally {
      setTimeout(() => this.poll(), POLL_MS); // whatever went wrong: it is what keeps the lease
    }
  }

  /** @param {import("./api.js").Changes} changes */
  take({ frames, leases, job, message }) {
    this.mark(frames);
    for (const [video, place] of frames) {
      this.player.forget(video, place);
      const present = video === this.video && place === this.place;
      if (present && !this.player.playing && (!this.leased || this.untouched())) this.showAgain();
    }
    for (const [index, known] of this.videos) {
      known.leases = Object.fromEntries(leases.filter(([video]) => video === index).map(([, place, who]) => [place, who]));
    }
    const others = leases.some(([video, place]) => video === this.video && place === this.place);
    if (this.taken && !others) {
      clearTimeout(this.settling);
      this.open(this.visit);
    } else if (this.leased && others && !this.outbox.has(this.video, this.place) && !this.tools.busy) {
      this.go(this.video, this.place); // the lease ended meanwhile, as while the machine slept
    }
    if (this.state) this.timeline.show(this.state, this.place);
    this.notices.job(job);
    if (message) this.notices.tell("server", message);
  }

  untouched() {
    return this.frame !== null && this.frame.done.length === 0 && !this.outbox.has(this.video, this.place) && !this.tools.busy;
  }

  async showAgain() {
    const { visit, video, place } = this;
    try {
      const version = this.leased ? (await api.open(video, place, this.session, this.look.person)).version : null;
      const frame = await this.player.get(video, place).label;
      if (visit !== this.visit || (this.leased && !this.untouched())) return;
      this.opened = version;
      this.showFrame(frame);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // others have it meanwhile: the next look at what has changed tells
    }
  }

  /** What has changed before the first look is told by nobody. */
  async reload() {
    this.videos.set(this.video, await api.video(this.video));
    if (this.state) this.timeline.show(this.state, this.place);
  }

  /** Another round of tasks, or a server that was started anew. @param {boolean} restarted */
  async reloadWork(restarted) {
    const id = this.work.videos[this.video]?.id;
    const before = JSON.stringify(this.work.videos);
    this.work = await api.work();
    this.queue.work = this.work;
    this.player.kept.clear();
    this.videos.clear();
    const same = JSON.stringify(this.work.videos) === before;
    if (!same) this.known.clear();
    const video = this.work.videos.findIndex((each) => each.id === id);
    fillVideos(this.work, Math.max(0, video));
    if (restarted && same) {
      if (!this.leased || this.untouched()) await this.go(this.video, this.place);
      else await this.reload();
    } else if (restarted && video >= 0) await this.go(video, Math.min(this.place, (this.work.videos[video]?.frames ?? 1) - 1));
    await this.queue.load();
    const [first] = this.queue.items;
    if (!restarted || video < 0) await this.go(first?.[0] ?? 0, first?.[1] ?? 0);
    this.outbox.run();
  }

  /** @param {unknown} error */
  trouble(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0) this.notices.connectionLost();
    else if (error.status === 401 || error.status === 403) this.notices.signedOut();
    else this.notices.tell("error", error.message, error.fix);
  }

  // ---------------------------------------------------------------- commands

  /** @param {ToolName} name */
  choose(name) {
    if (name === "click" && !this.work.prompter) this.notices.say("There is no model to answer clicks here. Brush and polygon work.");
    else this.tools.choose(name);
    this.refresh();
  }

  /** @returns {Record<string, (key: string) => void>} */
  commandTable() {
    const { tools } = this;
    /** @type {Record<string, (key: string) => void>} */
    const table = {
      "brush:-": () => tools.resize(-1),
      "brush:+": () => tools.resize(1),
      empty: () => {
        this.alone = !this.alone;
        if (this.frame) this.frame.onlyEmpty = this.alone;
      },
      class: (key) => this.classOfKey(key, (cls) => this.chooseClass(cls)),
      reclass: (key) => this.classOfKey(key.slice(-1), (cls) => this.object !== null && this.reclass(this.object, cls)),
      new: () => this.begin(),
      delete: () => this.object !== null && this.remove(this.object),
      "object:lock": () => this.object !== null && this.lockObject(this.object),
      accept: () => tools.accept(),
      finish: () => this.finish("drawn"),
      discard: () => {
        if (!tools.discard()) this.notices.clearAll();
      },
      back: () => tools.back(),
      undo: () => this.step("undo"),
      redo: () => this.step("redo"),
      previous: () => this.go(this.video, Math.max(0, this.place - 1)),
      next: () => this.go(this.video, Math.min(this.count - 1, this.place + 1)),
      first: () => this.go(this.video, 0),
      last: () => this.go(this.video, this.count - 1),
      play: () => this.play(),
      queue: () => this.nextInQueue(),
      propagate: () => this.askPropagate(),
      "review:accept": () => this.finish("accept"),
      "review:reject": () => this.finish("reject"),
      "review:lock": () => this.finish(this.frame?.header.state === "l" ? "unlock" : "lock"),
      hide: () => {
        this.hidden = !this.hidden;
      },
      ghost: () => {
        this.look.ghost = !this.look.ghost;
        this.showGhost();
      },
      "opacity:+": () => this.setOpacity(this.look.opacity + 10),
      "opacity:-": () => this.setOpacity(this.look.opacity - 10),
      fit: () => this.view.fit(),
      "zoom:+": () => this.view.zoom(1.25),
      "zoom:-": () => this.view.zoom(0.8),
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
    this.clock.sign();
    this.commands[name]?.(key);
    this.refresh();
  }

  /** @param {string} digit @param {(cls: number) => void} act */
  classOfKey(digit, act) {
    const row = this.work.classes[(Number(digit) + 9) % 10];
    if (row) act(row.id);
  }

  /** @param {string} key @param {number} step in pixels of the frame */
  moveCursor(key, step) {
    const { frame } = this;
    if (!frame) return;
    const from = this.view.cursor ?? { x: Math.floor(frame.width / 2) + 0.5, y: Math.floor(frame.height / 2) + 0.5 };
    const dx = key.endsWith("Left") ? -step : key.endsWith("Right") ? step : 0;
    const dy = key.endsWith("Up") ? -step : key.endsWith("Down") ? step : 0;
    this.view.cursor = {
      x: Math.min(frame.width - 0.5, Math.max(0.5, from.x + dx)),
      y: Math.min(frame.height - 0.5, Math.max(0.5, from.y + dy)),
    };
    this.tools.move(this.view.cursor);
  }

  /** @param {boolean} negative */
  press(negative) {
    if (!this.view.cursor) this.moveCursor("", 0);
    if (this.view.cursor && !this.pressed) {
      this.pressed = true;
      this.tools.down(this.view.cursor, negative);
    }
  }

  release() {
    this.pressed = false;
    if (this.view.cursor) this.tools.up(this.view.cursor);
  }

  async play() {
    if (this.player.playing) this.player.stop();
    else {
      const from = this.place + 1 < this.count ? this.place : 0;
      this.player.play(this.video, from, this.count).then(() => {
        if (!this.leased) this.settling = setTimeout(() => this.open(this.visit), SETTLE_MS);
        this.refresh();
      });
    }
  }

  async nextInQueue() {
    await this.queue.load();
    const item = this.queue.next();
    if (item) this.go(item[0], item[1]);
    else this.notices.say(this.queue.fault || "Nothing is waiting in this queue.");
  }

  askPropagate() {
    const states = this.state?.states ?? "";
    if (!this.work.propagator) return this.notices.say("There is no propagator here.");
    let last = this.place + 1;
    while (last < this.count - 1 && !"drl".includes(states[last] ?? "")) last++;
    find("propagate-text").textContent =
      `${this.work.propagator.name} carries the labels of finished frames to the frames between them. ` +
      "What was drawn, reviewed or locked stays as it is.";
    for (const id of ["propagate-first", "propagate-last"]) input(id).max = String(this.count);
    input("propagate-first").value = String(this.place + 1);
    input("propagate-last").value = String(Math.min(this.count, last + 1));
    const dialog = /** @type {HTMLDialogElement} */ (find("propagate"));
    dialog.returnValue = "";
    dialog.showModal();
  }

  async propagate() {
    try {
      await this.outbox.empty();
      await api.propagate(this.video, Number(input("propagate-first").value) - 1, Number(input("propagate-last").value) - 1);
      this.notices.say("The labels are being carried on. You can go on working.");
    } catch (error) {
      this.trouble(error);
    }
  }

  /** @param {number} percent */
  setOpacity(percent) {
    this.look.opacity = Math.min(100, Math.max(10, percent));
  }

  // -------------------------------------------------------------------- look

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
    this.showGhost();
    this.refresh();
  }

  listen() {
    for (const kind of ["pointermove", "pointerdown", "wheel", "keydown"]) {
      addEventListener(kind, () => this.clock.sign(), { capture: true, passive: true });
    }
    document.addEventListener("visibilitychange", () => this.clock.setHidden(document.hidden));
    addEventListener("pagehide", () => api.leave(this.session));
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => this.keyUp(event));
    document.addEventListener("click", (event) => {
      const button = /** @type {Element} */ (event.target).closest("[data-command]");
      if (button) this.command(button.getAttribute("data-command") ?? "");
    });
    input("person").addEventListener("change", () => {
      this.look.person = input("person").value.trim() || this.work.person;
      this.refresh();
    });
    input("safe").addEventListener("change", () => {
      this.look.safe = input("safe").checked;
      this.recolor();
    });
    input("opacity").addEventListener("input", () => {
      this.setOpacity(Number(input("opacity").value));
      this.refresh();
    });
    document.addEventListener("change", ({ target }) => {
      const chosen = target instanceof HTMLSelectElement && !target.matches(":focus-visible"); // by the pointer
      if (chosen) find("stage").focus(); // so that keys are those of the page again
    });
    input("video").addEventListener("change", () => this.go(Number(input("video").value), 0));
    find("absent").addEventListener("click", () => this.finish("absent"));
    find("job-cancel").addEventListener("click", () => api.cancel().catch((error) => this.trouble(error)));
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
      if (!event.repeat) this.view.spaceUsed = false;
      this.view.spaceHeld = true;
      return;
    }
    if (event.repeat && !/^(cursor|previous|next|undo|redo|brush|opacity|zoom)/.test(row.command)) return;
    this.command(row.command, name);
  }

  /** @param {KeyboardEvent} event */
  keyUp(event) {
    if (event.key === " " && this.view.spaceHeld) {
      this.view.spaceHeld = false;
      if (!this.view.spaceUsed) this.command("play");
    }
    if (event.key.toLowerCase() === "x" && this.pressed) this.release();
  }

  async start() {
    this.look.person ||= this.work.person;
    input("person").value = this.look.person;
    input("safe").checked = this.look.safe;
    this.palette.safe = this.look.safe;
    find("title").textContent = document.title = this.work.title;
    fillVideos(this.work, 0);
    if (!this.work.prompter) this.tools.name = "polygon";
    this.listen();
    const kept = await this.outbox.start();
    if (kept) this.notices.say(`Sending ${kept} action${kept === 1 ? "" : "s"} kept from last time.`);
    const [video = 0, place = 0] = location.hash.slice(1).split("/").map(Number);
    const known = this.work.videos[video];
    await this.go(known ? video : 0, known && place >= 0 && place < known.frames ? place : 0);
    this.queue.load();
    this.poll();
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

/** @param {Work} work @param {number} chosen */
function fillVideos(work, chosen) {
  const choice = /** @type {HTMLSelectElement} */ (find("video"));
  choice.replaceChildren(...work.videos.map(({ id }, index) => new Option(id, String(index), index === chosen, index === chosen)));
  show(choice, work.videos.length > 1);
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
