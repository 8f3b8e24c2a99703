/**
 * What the page says in words: the status line, the banner over the frame, the progress of a job, and the state of buttons.
 */

import { find, show } from "./elements.js";
import { STATES } from "./timeline.js";

/** @typedef {import("./api.js").ApiError} ApiError */
/** @typedef {import("./api.js").Job} Job */
/** @typedef {import("./tools.js").Tools} Tools */

const SAID_MS = 6000;

/** Change a text only where it differs, so that screen readers are not told the same again. */
/** @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @type {Record<import("./tools.js").ToolName, string>} */
const HINTS = {
  click: "Click on an object. The right button says “not this”. Enter accepts.",
  box: "Drag a box round an object. Enter accepts.",
  polygon: "Click the corners. Enter or a double click closes the outline.",
  brush: "Draw. [ and ] change the size, the right button erases.",
  eraser: "Draw over what is to go. [ and ] change the size.",
  fill: "Click an area to give it to the chosen object.",
  ignore: "Outline an area that is not to be learned from.",
  pan: "Drag to move around, turn the wheel to zoom, click an object to choose it.",
};

/** @typedef {Record<string, () => void>} Choices what can be done about it: buttons */

export class Notices {
  constructor() {
    /** @type {Map<string, {text: string, fix: string | null, choices: Choices}>} what is wrong, the latest last */
    this.troubles = new Map();
    this.said = "";
    this.until = 0;
    this.count = 0;
    /** @type {string | undefined} */
    this.lastJob = undefined;
  }

  /** A word about what just happened. @param {string} text */
  say(text) {
    this.said = text;
    this.until = performance.now() + SAID_MS;
    write(find("status"), text);
  }

  /** Something stands in the way. @param {string} kind @param {string} text @param {string | null} [fix] @param {Choices} [choices] */
  tell(kind, text, fix = null, choices = {}) {
    this.troubles.delete(kind);
    this.troubles.set(kind, { text, fix, choices });
    this.draw();
  }

  /** @param {string} kind */
  clear(kind) {
    if (this.troubles.delete(kind)) this.draw();
  }

  /** Put away all that was read; what asks for a choice stays. */
  clearAll() {
    for (const [kind, { choices }] of this.troubles) if (Object.keys(choices).length === 0) this.troubles.delete(kind);
    this.draw();
  }

  draw() {
    const trouble = [...this.troubles.values()].at(-1);
    const banner = find("banner");
    show(banner, trouble !== undefined);
    if (!trouble) return;
    const text = document.createElement("span");
    const fix = document.createElement("small");
    text.textContent = trouble.text;
    fix.textContent = trouble.fix ?? "";
    const buttons = Object.keys(trouble.choices).map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => [...this.troubles.values()].at(-1)?.choices[name]?.()); // a later one may read the same
      button.addEventListener("pointerdown", (event) => event.stopPropagation()); // it lies on the stage
      return button;
    });
    const parts = [text, fix, ...buttons];
    if (banner.textContent !== parts.map((part) => part.textContent).join("")) banner.replaceChildren(...parts);
  }

  connectionLost() {
    this.tell("connection", "The connection to the server is lost.", "Your work is kept in this browser and sent as soon as the server answers.");
  }

  signedOut() {
    const kept = this.count ? " What is not sent yet is kept in this browser." : "";
    this.tell("signed-out", "The server does not know this page any more.", `Open the address that it printed when it started.${kept}`);
  }

  /** @param {number} count of actions on their way @param {ApiError | null} trouble */
  unsent(count, trouble) {
    this.count = count;
    document.body.dataset.unsent = String(count);
    write(find("unsent"), count && trouble ? `${count} action${count === 1 ? "" : "s"} not sent yet` : "");
    if (!trouble) {
      this.clear("sending");
      this.clear("signed-out");
    } else if (trouble.status === 0) this.connectionLost();
    else if (trouble.status === 401 || trouble.status === 403) this.signedOut();
    else if (trouble.status === 503) this.clear("sending"); // passes by itself; the count tells
    else this.tell("sending", trouble.message, `${trouble.fix ?? ""} Your work is kept in this browser and sent again.`.trim());
  }

  /** @param {Job | null} job */
  job(job) {
    show(find("job"), job?.state === "running");
    if (job?.state === "running") {
      const progress = /** @type {HTMLProgressElement} */ (find("job-progress"));
      progress.max = Math.max(1, job.total);
      progress.value = job.done;
      write(find("job-text"), `${job.done} of ${job.total} frames`);
    }
    const word = job && { done: "The labels are carried on.", cancelled: "Propagation is cancelled; what is done stays." }[job.state];
    if (job?.state !== this.lastJob && this.lastJob === "running") {
      if (word) this.say(word);
      else this.tell("job", "Propagation stopped.", job?.message ?? null);
    }
    this.lastJob = job?.state;
  }
}

/**
 * @typedef {{notices: Notices, tools: Tools, view: import("./view.js").View, frame: import("./frame.js").Frame | null,
 *   clock: import("./clock.js").ActiveClock, look: {opacity: number, ghost: boolean}, work: import("./api.js").Work,
 *   player: {playing: boolean}, hidden: boolean, alone: boolean, leased: boolean, finishing: string | null,
 *   prompting: number, count: number, video: number, place: number, state: import("./api.js").VideoState | undefined,
 *   pending: number}} Shown
 */

/** @param {string} command @param {{pressed?: boolean, disabled?: boolean}} state */
function button(command, { pressed, disabled }) {
  for (const found of document.querySelectorAll(`button[data-command="${command}"]`)) {
    if (pressed !== undefined) found.setAttribute("aria-pressed", String(pressed));
    if (disabled !== undefined) found.toggleAttribute("disabled", disabled);
  }
}

/** Bring buttons and texts up to date. @param {Shown} page */
export function draw(page) {
  const { tools, frame, look, work, notices } = page;
  const state = page.state?.states[page.place] ?? frame?.header.state ?? ".";
  const ours = page.leased && !page.finishing;
  document.body.dataset.open = ours ? `${page.video}/${page.place}` : "";
  for (const name of Object.keys(HINTS)) button(`tool:${name}`, { pressed: tools.name === name });
  button("tool:click", { disabled: !work.prompter });
  button("hide", { pressed: page.hidden });
  button("ghost", { pressed: look.ghost });
  button("empty", { pressed: page.alone });
  button("undo", { disabled: !frame?.done.length && !tools.busy });
  button("redo", { disabled: !frame?.undone.length });
  button("finish", { disabled: !ours || state === "l" || tools.busy });
  button("propagate", { disabled: !work.propagator });
  for (const verdict of ["accept", "reject"]) button(`review:${verdict}`, { disabled: !ours || !"mrx".includes(state) });
  button("review:lock", { disabled: !ours || !"mrdl".includes(state), pressed: state === "l" });
  write(find("lock-text"), state === "l" ? "Unlock" : "Lock");
  find("play").querySelector("use")?.setAttribute("href", page.player.playing ? "#i-pause" : "#i-play");
  const videos = work.kind === "videos";
  show(find("review"), videos);
  show(find("absent"), !videos);
  find("absent").toggleAttribute("disabled", !ours);
  find("overlay").style.opacity = page.hidden ? "0" : String(look.opacity / 100);
  find("ghost").style.opacity = "1";
  /** @type {HTMLInputElement} */ (find("opacity")).value = String(look.opacity);
  const { task } = frame?.header ?? { task: null };
  write(find("task"), task?.text ?? "");
  const brushes = tools.name === "brush" || tools.name === "eraser";
  write(find("brush-size"), brushes ? `${tools.diameter} px` : "");
  const stage = find("stage");
  stage.classList.toggle("pans", tools.name === "pan");
  stage.classList.toggle("brushes", brushes && page.leased);
  stage.classList.toggle("waits", page.prompting > 0);
  stage.classList.toggle("locked", state === "l");
  drawQuestion(tools, page.prompting);
  drawWhere(page, state);
  if (performance.now() > notices.until) write(find("status"), state === "l" ? "Locked. L unlocks it." : HINTS[tools.name]);
  const seconds = Math.floor(page.clock.seconds + page.pending);
  write(find("seconds"), `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} at work on this frame`);
  find("seconds").classList.toggle("resting", page.clock.resting);
}

/** @param {Tools} tools @param {number} prompting */
function drawQuestion(tools, prompting) {
  const { proposal, corners } = tools;
  show(find("question"), proposal !== null || corners.length > 0);
  button("accept", { disabled: proposal ? !proposal.mask || prompting > 0 : corners.length < 3 });
  const points = proposal?.points.length ?? 0;
  const asked = points ? `Proposal after ${points} click${points === 1 ? "" : "s"}` : "Proposal for the box";
  const text = proposal ? (prompting || !proposal.mask ? "The model is looking…" : asked) : `${corners.length} corners`;
  write(find("question-text"), text);
}

/** @param {Shown} page @param {string} state */
function drawWhere(page, state) {
  const confidence = page.state?.confidence[page.place] ?? -1;
  const sure = state === "m" && confidence >= 0 ? `, ${confidence} % sure` : "";
  const who = page.leased ? undefined : page.state?.leases[page.place];
  const where = find("where");
  const frame = `Frame ${page.place + 1} of ${page.count}`;
  const note = who ? ` with ${who}` : ` ${STATES[state]?.name ?? ""}${sure}`;
  if (where.textContent === frame + note) return;
  const soft = document.createElement("span");
  soft.textContent = note;
  where.replaceChildren(frame, soft);
}

/** What the shapes of the timeline mean. @param {(canvas: HTMLCanvasElement, state: string) => void} shape */
export function drawLegend(shape) {
  const entries = Object.entries(STATES).map(([state, { name }]) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 20;
    shape(canvas, state);
    const entry = document.createElement("span");
    entry.append(canvas, name);
    return entry;
  });
  const doubt = document.createElement("span");
  doubt.textContent = "Machine labels: orange is doubtful, blue is sure.";
  find("legend").replaceChildren(...entries, doubt);
}
