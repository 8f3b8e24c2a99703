/**
 * Classes and objects: their colours, and the two lists on the right in which they are chosen.
 */

/** @typedef {import("./api.js").ClassRow} ClassRow */
/** @typedef {import("./frame.js").Frame} Frame */
/**
 * @typedef {{choose: (cls: number) => void, select: (object: number) => void, remove: (object: number) => void,
 *   lock: (object: number) => void, reclass: (object: number, cls: number) => void}} Acts
 */

/** @param {string} tag @param {Record<string, string>} attributes @param {(Node | string)[]} children */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {string} icon name of a symbol of index.html */
export function svg(icon) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${icon}`);
  made.setAttribute("aria-hidden", "true");
  made.append(use);
  return made;
}

export class Palette {
  /**
   * @param {ClassRow[]} classes
   * @param {Acts} acts
   */
  constructor(classes, acts) {
    this.classes = classes;
    this.acts = acts;
    this.safe = false;
    this.classList = /** @type {HTMLElement} */ (document.getElementById("classes"));
    this.objectList = /** @type {HTMLElement} */ (document.getElementById("objects"));
  }

  /** @param {number} id @returns {ClassRow | undefined} */
  class(id) {
    return this.classes.find((row) => row.id === id);
  }

  /** @param {number} cls @returns {number[]} */
  colorOfClass(cls) {
    const row = this.class(cls);
    return (this.safe ? row?.safe_color : row?.color) ?? [150, 150, 150];
  }

  /** Instances of one class differ in brightness. @param {number} object @param {number} cls @returns {number[]} */
  color(object, cls) {
    const rgb = this.colorOfClass(cls);
    if (!this.class(cls)?.thing) return rgb;
    const shade = [0, 0.3, -0.22, 0.16, -0.36, 0.44][object % 6] ?? 0;
    return rgb.map((value) => Math.round(shade > 0 ? value + (255 - value) * shade : value * (1 + shade)));
  }

  /** @param {number[]} rgb */
  swatch(rgb) {
    const made = element("span", { class: "swatch" });
    made.style.background = `rgb(${rgb.join(" ")})`;
    return made;
  }

  /** @param {number} chosen a class */
  drawClasses(chosen) {
    this.classList.replaceChildren(
      ...this.classes.map((row, index) => {
        const pressed = String(row.id === chosen);
        const button = element(
          "button",
          { type: "button", class: "row", "aria-pressed": pressed },
          this.swatch(this.colorOfClass(row.id)),
          element("span", { class: "name" }, row.name),
          index < 10 ? element("kbd", {}, String((index + 1) % 10)) : "",
        );
        button.addEventListener("click", () => this.acts.choose(row.id));
        return element("li", {}, button);
      }),
    );
  }

  /**
   * @param {Frame} frame
   * @param {Map<number, number>} known objects of this video -> class, also those that this frame does not show
   * @param {number | null} chosen
   * @param {boolean} editable
   */
  drawObjects(frame, known, chosen, editable) {
    const here = [...frame.objects.values()].filter(({ id }) => frame.pixels[id] || id === chosen);
    const elsewhere = [...known]
      .filter(([id]) => !here.some((row) => row.id === id))
      .map(([id, cls]) => ({ id, class: cls, locked: false }));
    const rows = [...here, ...elsewhere.filter((row) => this.class(row.class)?.thing)];
    rows.sort((a, b) => a.id - b.id);
    this.objectList.replaceChildren(
      ...rows.map((row) => this.objectRow(row, frame, row.id === chosen, editable)),
      ...(rows.length ? [] : [element("li", { class: "empty" }, "Nothing is labelled here yet.")]),
    );
  }

  /**
   * @param {import("./frame.js").ObjectRow} row @param {Frame} frame @param {boolean} chosen @param {boolean} editable
   */
  objectRow(row, frame, chosen, editable) {
    const kind = this.class(row.class);
    const name = kind?.thing ? `${kind.name} ${row.id}` : (kind?.name ?? `object ${row.id}`);
    const count = frame.pixels[row.id] ?? 0;
    const share = (100 * count) / frame.ids.length;
    const size = count === 0 ? "not here" : share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
    const main = element(
      "button",
      { type: "button", class: count ? "row" : "row absent", "aria-pressed": String(chosen) },
      this.swatch(this.color(row.id, row.class)),
      element("span", { class: "name" }, name),
      element("span", { class: "size" }, size),
    );
    main.addEventListener("click", () => this.acts.select(row.id));
    const item = element("li", {}, main);
    if (!chosen || !count) return item;
    const locking = row.locked ? "Unlock" : "Lock";
    const lock = element("button", { type: "button", class: "small", title: `${locking} ${name}`, "aria-label": `${locking} ${name}`, "aria-pressed": String(row.locked) }, svg("lock"));
    const remove = element("button", { type: "button", class: "small", title: `Remove ${name} from this frame`, "aria-label": `Remove ${name} from this frame` }, svg("trash"));
    const choice = /** @type {HTMLSelectElement} */ (element("select", { "aria-label": `Class of ${name}` }));
    for (const { id, name: option } of this.classes) choice.append(new Option(option, String(id), id === row.class, id === row.class));
    lock.addEventListener("click", () => this.acts.lock(row.id));
    remove.addEventListener("click", () => this.acts.remove(row.id));
    choice.addEventListener("change", () => this.acts.reclass(row.id, Number(choice.value)));
    for (const control of [remove, choice]) control.toggleAttribute("disabled", !editable || row.locked);
    item.append(element("div", { class: "controls" }, choice, lock, remove));
    return item;
  }
}
