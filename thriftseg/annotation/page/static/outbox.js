/**
 * Actions on their way to the server: kept in the browser's database until acknowledged, sent in order, sent again after
 * a lost connection, and after the browser itself was closed or killed.
 */

import { api, ApiError } from "./api.js";

/** @typedef {import("./api.js").Action} Action */
/**
 * One action to be sent; with a verdict it finishes its frame. Videos and frames are named, not numbered, so that an
 * entry finds its frame when the server was started with other videos.
 * @typedef {{key?: number, scope: string, session: string, person: string, video: string, place: number,
 *   verdict: string | null, action: Action}} Entry
 */
/**
 * @typedef {{scope: string, find: (video: string) => number,
 *   changed: (unsent: number, trouble: ApiError | null) => void,
 *   finished: (entry: Entry, state: string, next: [number, number] | null) => void,
 *   refused: (entry: Entry, error: ApiError) => void}} Hooks
 */

const STORE = "unsent";
const MOST_AT_ONCE = 50;

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

/**
 * The sessions of other tabs of this browser, which send their actions themselves; each holds a lock while it lives.
 * Where the browser has no locks (plain http from another machine) none is found: an action sent twice counts once.
 * @param {string} own @returns {Promise<Set<string | undefined>>} names of locks
 */
async function livingSessions(own) {
  if (!navigator.locks) return new Set();
  navigator.locks.request(`thriftseg ${own}`, () => new Promise(() => {}));
  const { held = [] } = await navigator.locks.query();
  return new Set(held.map((lock) => lock.name));
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
    /** @type {(() => void)[]} */
    this.waiting = [];
  }

  /** Take up what an earlier session on this browser could not send. @returns {Promise<number>} how many */
  async start() {
    this.database = await openDatabase();
    if (!this.database) return 0;
    const kept = /** @type {Entry[]} */ (await inStore(this.database, "readonly", (store) => store.getAll()));
    const living = await livingSessions(this.session);
    this.entries.push(
      ...kept.filter(
        (entry) =>
          entry.scope === this.hooks.scope && this.hooks.find(entry.video) >= 0 && !living.has(`thriftseg ${entry.session}`),
      ),
    );
    const old = this.entries.length;
    this.run();
    return old;
  }

  /** @param {Entry} entry */
  add(entry) {
    this.entries.push(entry);
    const { database } = this;
    if (database) {
      this.written = this.written
        .then(() => inStore(database, "readwrite", (store) => store.add({ ...entry })))
        .then((key) => void (entry.key = Number(key)))
        .catch(() => {}); // a full disk of this machine: the entry still lives in this page
    }
    this.tell();
    this.run();
  }

  /** @returns {Promise<void>} resolves when nothing is left to send */
  empty() {
    return this.entries.length === 0 ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }

  tell() {
    this.hooks.changed(this.entries.length, this.trouble);
    if (this.entries.length === 0) for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Send all that is there; try again later where the server does not take it. */
  async run() {
    if (this.running) return;
    this.running = true;
    clearTimeout(this.timer);
    while (this.entries.length > 0) {
      const batch = this.nextBatch();
      try {
        await this.send(batch);
        this.wait = 500;
        this.trouble = null;
        await this.drop(batch);
      } catch (error) {
        if (!(error instanceof ApiError)) {
          this.running = false;
          throw error;
        }
        this.trouble = error;
        if (error.passing || [401, 403, 409].includes(error.status)) {
          this.timer = setTimeout(() => this.run(), this.wait);
          this.wait = Math.min(5000, 2 * this.wait);
          break;
        }
        await this.refuse(batch, error);
      }
      this.tell();
    }
    this.running = false;
    this.tell();
  }

  /** @returns {Entry[]} the oldest entries that belong to one frame and session; one that finishes a frame is alone */
  nextBatch() {
    const [first, ...rest] = this.entries;
    if (!first || first.verdict) return first ? [first] : [];
    const end = rest.findIndex(
      (entry) =>
        entry.verdict || entry.video !== first.video || entry.place !== first.place || entry.session !== first.session,
    );
    return [first, ...(end < 0 ? rest : rest.slice(0, end))].slice(0, MOST_AT_ONCE);
  }

  /** @param {Entry[]} batch */
  async send(batch) {
    const [first] = batch;
    if (!first) return;
    const video = this.hooks.find(first.video);
    const { place, session, person, verdict } = first;
    const post = async () => {
      if (verdict) return api.finish(video, place, { session, person, verdict, action: first.action });
      await api.actions(video, place, { session, person, actions: batch.map((entry) => entry.action) });
      return null;
    };
    const opened = async () => {
      await api.open(video, place, session, person);
      return post().catch((error) => {
        throw error.status === 409 ? new ApiError(error.message, 422, error.fix) : error; // ours, and yet refused
      });
    };
    const answer = await post().catch((error) => (error.status === 409 ? opened() : Promise.reject(error)));
    const last = this.entries[batch.length];
    if (session !== this.session && last?.session !== session) api.leave(session);
    if (answer) this.hooks.finished(first, answer.state, answer.next);
  }

  /** @param {Entry[]} batch */
  async drop(batch) {
    this.entries.splice(0, batch.length);
    await this.written;
    const { database } = this;
    if (!database) return;
    for (const { key } of batch) {
      if (key !== undefined) await inStore(database, "readwrite", (store) => store.delete(key)).catch(() => {});
    }
  }

  /** An answer that will never become yes. @param {Entry[]} batch @param {ApiError} error */
  async refuse(batch, error) {
    const [first] = batch;
    if (!first) return;
    if (batch.length > 1) return this.sendSingly(batch);
    this.trouble = null;
    await this.drop(batch);
    this.hooks.refused(first, error);
  }

  /** Find the one that is refused among several. @param {Entry[]} batch */
  async sendSingly(batch) {
    for (const entry of batch) {
      try {
        await this.send([entry]);
        await this.drop([entry]);
      } catch (error) {
        if (!(error instanceof ApiError) || error.passing || [401, 403, 409].includes(error.status)) return; // later
        await this.refuse([entry], error);
      }
    }
  }
}
