/**
 * The one table of keys: what is pressed, what it does, and the help sheet and tooltips drawn from it.
 */

/** @typedef {{keys: string[], command: string, group: string, text: string}} KeyRow */

/** @type {[string, [string, string, string][]][]} group, then keys (several with a space between), command, text */
const TABLE = [
  [
    "Tools",
    [
      ["c", "tool:click", "Click: the model finds the object; right button or Alt says “not this”"],
      ["b", "tool:box", "Box: drag round an object, the model finds it; clicks correct it"],
      ["p", "tool:polygon", "Polygon: click the corners, Enter or a double click closes it"],
      ["d", "tool:brush", "Brush; the right button erases"],
      ["e", "tool:eraser", "Eraser"],
      ["f", "tool:fill", "Fill an area with the chosen object"],
      ["i", "tool:ignore", "Ignore: outline an area that is not to be learned from"],
      ["v", "tool:pan", "Move around; a click chooses the object below"],
      ["[", "brush:-", "Smaller brush"],
      ["]", "brush:+", "Larger brush"],
      ["u", "empty", "Paint only where nothing is labelled yet"],
    ],
  ],
  [
    "Objects",
    [
      ["1 2 3 4 5 6 7 8 9 0", "class", "Choose a class"],
      ["Shift+1 Shift+2 Shift+3 Shift+4 Shift+5 Shift+6 Shift+7 Shift+8 Shift+9 Shift+0", "reclass", "Change the class of the chosen object"],
      ["n", "new", "A new instance of the class"],
      ["Delete", "delete", "Remove the chosen object from this frame"],
      ["Shift+l", "object:lock", "Lock or unlock the chosen object"],
    ],
  ],
  [
    "Answer",
    [
      ["Enter", "accept", "Accept what is proposed, close the polygon"],
      ["Shift+Enter", "finish", "Finish the frame: store it and go on"],
      ["Escape", "discard", "Discard what is begun"],
      ["Backspace", "back", "Take back the last corner or click"],
      ["Ctrl+z", "undo", "Undo"],
      ["Ctrl+Shift+z Ctrl+y", "redo", "Redo"],
    ],
  ],
  [
    "Frames",
    [
      ["ArrowLeft ,", "previous", "Previous frame"],
      ["ArrowRight .", "next", "Next frame"],
      ["Home", "first", "First frame"],
      ["End", "last", "Last frame"],
      ["Space", "play", "Play with the labels; held: drag to move around"],
      ["q", "queue", "Next in the queue"],
      ["t", "propagate", "Carry the labels on to other frames"],
    ],
  ],
  [
    "Review",
    [
      ["a", "review:accept", "Accept the label of the machine"],
      ["r", "review:reject", "Reject it"],
      ["l", "review:lock", "Lock the frame, or unlock it"],
    ],
  ],
  [
    "View",
    [
      ["h", "hide", "Hide the labels, show them again"],
      ["g", "ghost", "Ghost: the label of the neighbour below"],
      ["+ =", "opacity:+", "Labels more opaque"],
      ["-", "opacity:-", "Labels more transparent"],
      ["z", "fit", "The whole frame"],
      ["PageUp", "zoom:+", "Closer; the wheel does the same"],
      ["PageDown", "zoom:-", "Further away"],
      ["?", "help", "This sheet"],
    ],
  ],
  [
    "Without a mouse",
    [
      ["Shift+ArrowLeft Shift+ArrowRight Shift+ArrowUp Shift+ArrowDown", "cursor", "Move a crosshair over the frame"],
      ["Ctrl+ArrowLeft Ctrl+ArrowRight Ctrl+ArrowUp Ctrl+ArrowDown", "cursor:fast", "Move it ten times as far"],
      ["x", "press", "Press there; held while moving it draws"],
      ["Shift+x", "press:negative", "Press there: “not this”"],
    ],
  ],
];

/** @type {KeyRow[]} */
export const KEYS = TABLE.flatMap(([group, rows]) =>
  rows.map(([keys, command, text]) => ({ keys: keys.split(" "), command, group, text })),
);

const BY_KEY = new Map(KEYS.flatMap((row) => row.keys.map((key) => [key, row])));

/** @param {KeyboardEvent} event @returns {string} as in the table */
export function keyName(event) {
  let { key } = event;
  if (/^Digit\d$/.test(event.code) && !"+-=[]?,.".includes(key)) key = event.code.slice(5);
  else if (/^Key[A-Z]$/.test(event.code) && key.charCodeAt(0) > 127) key = event.code.slice(3); // other alphabets
  if (key === " ") key = "Space";
  const named = key.length > 1 || /[a-z0-9]/i.test(key);
  const shift = event.shiftKey && named ? "Shift+" : "";
  const altGr = event.getModifierState("AltGraph"); // Windows reports it as Ctrl and Alt together
  const ctrl = (event.ctrlKey && !altGr) || event.metaKey ? "Ctrl+" : "";
  return ctrl + shift + (key.length === 1 ? key.toLowerCase() : key);
}

/** @param {string} name @returns {KeyRow | undefined} */
export const rowOf = (name) => BY_KEY.get(name);

/** @type {Record<string, string>} */
const WRITTEN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Escape: "Esc",
  PageUp: "Page ↑",
  PageDown: "Page ↓",
};

/** @param {string} key @returns {string} for people: Ctrl+Shift+z -> Ctrl Shift Z */
export const written = (key) =>
  key
    .split(/\+(?=.)/)
    .map((part) => WRITTEN[part] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join(" ");

/** @param {KeyRow} row @returns {string[]} ten digits become one range, four arrows one word */
function shortened({ keys }) {
  const prefix = (keys[0] ?? "").replace(/(\d|Arrow\w+)$/, "");
  const lead = prefix ? `${written(prefix.slice(0, -1))} ` : "";
  if (keys.length === 10) return [`${lead}1 … 0`];
  if (keys.length === 4) return [`${lead}arrows`];
  return keys.map(written);
}

/** Write the keys on every button that carries `data-command`. */
export function nameButtons() {
  for (const button of document.querySelectorAll("[data-command]")) {
    const row = KEYS.find(({ command }) => command === button.getAttribute("data-command"));
    const [key] = row?.keys ?? [];
    if (!row || !key) continue;
    button.setAttribute("title", `${row.text} (${written(key)})`);
    button.setAttribute("aria-keyshortcuts", key.replace("Ctrl", "Control"));
    if (!button.textContent?.trim()) button.setAttribute("aria-label", row.text);
  }
}

/** @param {HTMLElement} sheet filled with the whole table */
export function drawHelp(sheet) {
  sheet.replaceChildren(
    ...TABLE.map(([group]) => {
      const section = document.createElement("section");
      const title = document.createElement("h3");
      title.textContent = group;
      const list = document.createElement("dl");
      for (const row of KEYS.filter((key) => key.group === group)) {
        const keys = document.createElement("dt");
        keys.append(
          ...shortened(row).map((name) => {
            const cap = document.createElement("kbd");
            cap.textContent = name;
            return cap;
          }),
        );
        const text = document.createElement("dd");
        text.textContent = row.text;
        list.append(keys, text);
      }
      section.append(title, list);
      return section;
    }),
  );
}
