/**
 * Actions on their way to the server: kept in the browser's database until acknowledged, sent in order, sent again after
 * a lost connection, and after the browser itself was closed or killed.
 */

import { api, ApiError } from "./api.js";

/** @typedef {import("./api.js").Action} Action */
/**
 * One action to be sent; with a verdict it finishes its frame. Videos and frames are named, not numbered, so that an
 * entry finds its frame when the server was started with other videos. `version` is that of the frame as it was opened.
 * What was done on a frame that is another one now is set aside until the person says what becomes of it.
 * @typedef {{key?: number, scope: string, session: string, person: string, video: string, place: number,
 *   version: string | null, verdict: string | null, action: Action, aside?: boolean}} Entry
 */
/**
 * @typedef {{scope: string, find: (video: string) => number, server: () => string,
 *   changed: (unsent: number, trouble: ApiError | null) => void,
 *   finished: (entry: Entry, state: string, next: [number, number] | null) => void,
 *   refused: (entry: Entry, error: ApiError, heldBack: boolean) => void,
 *   waits: (entry: Entry) => void,
 *   outdated: (entries: Entry[]) => void}} Hooks
 */

const STORE = "unsent";
const MOST_AT_ONCE = 50;
const ANSWER_MS = 400;

/** @returns {Promise<IDBDatabase | null>} none where the browser keeps nothing */
function openDatabase() {
  return new Promise((resolve) => {
    let opening;
    try {
      opening = indexedDB.open("thriftseg", 1);
    } catch {
      return resolve(null);
    }
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "key", autoIncrement: true });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => resolve(null);
  });
}

/**
 * @template T
 * @param {IDBDatabase} database
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>} when it is on disk
 */
function inStore(database, mode, act) {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode, { durability: "strict" });
    const asked = act(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** @param {Entry} one @param {Entry} other @returns {boolean} whether both are of one frame and one session */
const together = (one, other) =>
  one.video === other.video && one.place === other.place && one.session === other.session;

/** @param {Entry} entry @returns {boolean} whether it judges a label, which may have to wait for what makes labels */
const decides = ({ verdict }) => verdict !== null && verdict !== "drawn" && verdict !== "absent";

/**
 * The sessions of other tabs of this browser, which send their actions themselves. Each holds a lock while it lives;
 * where the browser has no locks (plain http from another machine) it answers those who ask.
 * @param {string} own @returns {Promise<Set<string | undefined>>}
 */
async function livingSessions(own) {
  if (navigator.locks) {
    navigator.locks.request(`thriftseg ${own}`, () => new Promise(() => {}));
    const { held = [] } = await navigator.locks.query();
    return new Set(held.map((lock) => lock.name?.replace("thriftseg ", "")));
  }
  const living = new Set();
  const channel = new BroadcastChannel("thriftseg");
  channel.onmessage = ({ data }) => {
    if (data === "who") channel.postMessage(own);
    else living.add(data);
  };
  channel.postMessage("who");
  await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
  return living;
}

export class Outbox {
  /** @param {string} session @param {Hooks} hooks */
  constructor(session, hooks) {
    this.session = session;
    this.hooks = hooks;
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Promise<unknown>} writes to the database, one after the other */
    this.written = Promise.resolve();
    /** @type {IDBDatabase | null} */
    this.database = null;
    /** @type {ApiError | null} */
    this.trouble = null;
    this.running = false;
    this.wait = 500;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {Map<Entry, ApiError>} what the server could not take, until it is asked again */
    this.later = new Map();
    /** @type {Set<string>} leases that were taken in the name of earlier sessions */
    this.lent = new Set();
    /** @type {{is: (entry: Entry) => boolean, resolve: () => void}[]} */
    this.waiting = [];
    /** @type {Set<string>} actions that were refused together, to be sent one by one */
    this.single = new Set();
  }

  /** Take up what an earlier session on this browser could not send. @returns {Promise<number>} how many */
  async start() {
    const living = await livingSessions(this.session);
    this.database = await openDatabase();
    if (!this.database) return 0;
    const kept = /** @type {Entry[]} */ (await inStore(this.database, "readonly", (store) => store.getAll()));
    this.entries.push(...kept.filter(({ scope, session }) => scope === this.hooks.scope && !living.has(session)));
    const old = this.unsent.length;
    for (const entry of this.entries) if (entry.aside) this.hooks.outdated(this.asideWith(entry));
    this.run();
    return old;
  }

  /** @returns {Entry[]} what is to be sent to videos that the server has */
  get unsent() {
    return this.entries.filter((entry) => !entry.aside && this.hooks.find(entry.video) >= 0);
  }

  /** @param {number} video @param {number} place @returns {boolean} whether something about a frame is not sent yet */
  has(video, place) {
    return this.unsent.some((entry) => entry.place === place && this.hooks.find(entry.video) === video);
  }

  /** @param {Entry} entry */
  add(entry) {
    this.entries.push(entry);
    this.write((store) => store.add({ ...entry }), (key) => void (entry.key = Number(key)));
    this.tell();
    this.run();
  }

  /**
   * @param {(store: IDBObjectStore) => IDBRequest<any>} act
   * @param {(result: any) => void} [then]
   */
  write(act, then = () => {}) {
    const { database } = this;
    if (!database) return;
    const kept = this.written.then(() => inStore(database, "readwrite", act));
    this.written = kept.then(then, () => {}); // a full disk of this machine: the entry still lives in this page
  }

  /**
   * @param {[number, number]} [frame] one of all
   * @returns {Promise<void>} resolves when nothing is left to send
   */
  empty(frame) {
    const is = (/** @type {Entry} */ { video, place }) => !frame || (place === frame[1] && this.hooks.find(video) === frame[0]);
    return this.unsent.some(is) ? new Promise((resolve) => this.waiting.push({ is, resolve })) : Promise.resolve();
  }

  tell() {
    const { unsent } = this;
    this.hooks.changed(unsent.length, this.trouble);
    const over = this.waiting.filter(({ is }) => !unsent.some(is));
    this.waiting = this.waiting.filter((each) => !over.includes(each));
    for (const { resolve } of over) resolve();
  }

  /** Send all that is there; what the server does not take now is sent later, and does not keep other frames waiting. */
  async run() {
    if (this.running) return;
    this.running = true;
    /** @type {ApiError | null} */
    let lost = null;
    try {
      for (let batch; !lost && (batch = this.nextBatch()).length > 0; this.tell()) {
        const [first] = /** @type {[Entry]} */ (batch);
        try {
          await this.send(batch);
          await this.drop(batch);
          this.trouble = null;
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          if (error.status === 412) this.setAside(first);
          else if (error.status === 409 || error.status === 503) {
            this.later.set(first, error);
            if (decides(first)) this.hooks.waits(first);
          } else if (error.passing || error.status === 401 || error.status === 403) lost = error;
          else await this.refuse(batch, error);
        }
      }
    } finally {
      this.running = false;
    }
    this.trouble = lost ?? [...this.later.values()][0] ?? null;
    if (!this.trouble) this.wait = 500;
    else if (this.timer === undefined) {
      this.timer = setTimeout(() => this.retry(), this.wait);
      this.wait = Math.min(5000, 2 * this.wait);
    }
    this.tell();
  }

  retry() {
    this.timer = undefined;
    this.later.clear();
    this.run();
  }

  /**
   * The oldest entries that belong to one frame and session; one that finishes a frame is alone. What had to wait makes
   * the rest of its frame wait, and a decision all others.
   * @returns {Entry[]}
   */
  nextBatch() {
    const { unsent } = this;
    const later = [...this.later.keys()];
    const first = unsent.find(
      (entry) => !later.some((each) => together(each, entry) || (decides(each) && decides(entry))),
    );
    if (!first || first.verdict || this.single.has(first.action.id)) return first ? [first] : [];
    const rest = unsent.slice(unsent.indexOf(first)).filter((entry) => together(entry, first));
    const end = rest.findIndex((entry) => entry.verdict || entry.version !== first.version);
    return (end < 0 ? rest : rest.slice(0, end)).slice(0, MOST_AT_ONCE);
  }

  /** @param {Entry[]} batch */
  async send(batch) {
    const [first] = /** @type {[Entry]} */ (batch);
    const video = this.hooks.find(first.video);
    const { place, session, person, version, verdict } = first;
    const server = this.hooks.server(); // which numbers the videos
    const lent = `${session}/${first.video}/${place}`;
    const post = async () => {
      if (verdict) return api.finish(video, place, { session, person, version, server, verdict, action: first.action });
      await api.actions(video, place, { session, person, version, server, actions: batch.map((entry) => entry.action) });
      return null;
    };
    const opened = async () => {
      await api.open(video, place, session, person);
      if (session !== this.session) this.lent.add(lent);
      return post().catch((error) => {
        throw error.status === 409 ? new ApiError(error.message, 422, error.fix) : error; // ours, and yet refused
      });
    };
    try {
      const answer = await post().catch((error) => (error.status === 409 ? opened() : Promise.reject(error)));
      if (answer) this.hooks.finished(first, answer.state, answer.next);
    } finally {
      const more = this.unsent.some((entry) => together(entry, first) && !batch.includes(entry));
      if (!more && this.lent.delete(lent)) api.close(video, place, session).catch(() => {});
    }
  }

  /** @param {Entry[]} batch */
  async drop(batch) {
    this.entries = this.entries.filter((entry) => !batch.includes(entry));
    await this.written;
    for (const { key } of batch) if (key !== undefined) this.write((store) => store.delete(key));
    await this.written;
    for (const entry of batch) this.later.delete(entry);
  }

  /**
   * An answer that will never become yes: the frame is not finished without what was refused.
   * @param {Entry[]} batch @param {ApiError} error
   */
  async refuse(batch, error) {
    const [first] = /** @type {[Entry]} */ (batch);
    if (batch.length > 1) {
      for (const { action } of batch) this.single.add(action.id);
      return;
    }
    const finish = this.unsent.find((entry) => entry !== first && entry.verdict && together(entry, first));
    await this.drop(finish ? [first, finish] : [first]);
    this.hooks.refused(first, error, finish !== undefined);
  }

  /** The frame has changed since these were done. @param {Entry} first */
  setAside(first) {
    for (const entry of this.entries) {
      if (together(entry, first) && entry.version === first.version) this.change(entry, { aside: true });
    }
    this.hooks.outdated(this.asideWith(first));
  }

  /** @param {Entry} first @returns {Entry[]} all that is set aside of a frame */
  asideWith(first) {
    return this.entries.filter(({ aside, video, place }) => aside && video === first.video && place === first.place);
  }

  /** Do what was set aside on the frame as it is now. @param {Entry[]} entries @param {string | null} version */
  again(entries, version) {
    for (const entry of entries) this.change(entry, { aside: false, session: this.session, version });
    this.tell();
    this.run();
  }

  /** @param {Entry} entry @param {Partial<Entry>} values */
  change(entry, values) {
    Object.assign(entry, values);
    this.write((store) => store.put({ ...entry }));
  }
}
