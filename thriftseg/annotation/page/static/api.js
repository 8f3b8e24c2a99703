/**
 * Requests to the server that the page came from.
 */

import { Frame, readLabel } from "./frame.js";

/** @typedef {import("./frame.js").Header} Header */
/** @typedef {import("./frame.js").Patch} Patch */
/** @typedef {{id: number, name: string, color: number[], safe_color: number[], thing: boolean}} ClassRow */
/** @typedef {{id: string, frames: number, height: number, width: number}} VideoRow */
/**
 * @typedef {{version: number, server: string, title: string, kind: "videos" | "tasks", dataset: string, person: string, pause_s: number,
 *   classes: ClassRow[], prompter: {name: string} | null, propagator: {name: string} | null,
 *   queues: {id: string, name: string}[], videos: VideoRow[]}} Work
 */
/**
 * @typedef {{numbers: number[], states: string, confidence: number[], leases: Record<string, string>,
 *   objects?: [number, number][]}} VideoState
 */
/** @typedef {{video: number, done: number, total: number, state: string, message: string | null}} Job */
/**
 * @typedef {{version: number, work_version: number, server: string, frames: [number, number, string, number][],
 *   leases: [number, number, string][], job: Job | null, message: string | null}} Changes
 */
/**
 * @typedef {{id: string, tool: string, object: number | null, class: number | null, start: number, end: number, seconds: number,
 *   clicks: number, vertices: number, strokes: number, objects: [number, number][], patch: Patch | null}} Action
 */
/** @typedef {[number, number, number, string]} QueueItem video, place, score, why */

/** An answer that says no, or no answer at all (status 0). */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {string | null} fix
   */
  constructor(message, status, fix = null) {
    super(message);
    this.status = status;
    this.fix = fix;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status >= 500;
  }
}

/** @returns {string} 128 random bits; `crypto.randomUUID` is missing where the page comes over plain http */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(60_000), credentials: "same-origin", ...options });
  } catch {
    throw new ApiError("The server does not answer.", 0);
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new ApiError(answer.error ?? `The server answered ${response.status}.`, response.status, answer.fix ?? null);
}

/**
 * What an answer brings; the connection may be lost in the middle of it.
 * @template T
 * @param {Promise<T>} content
 * @returns {Promise<T>}
 */
function whole(content) {
  return content.catch(() => {
    throw new ApiError("The server does not answer.", 0);
  });
}

/**
 * A picture is to be shown as the file has its pixels, on which labels are drawn; browsers turn a JPEG as its EXIF data
 * say, and cannot be told not to.
 * @param {Uint8Array<ArrayBuffer>} content of an image file
 * @returns {Uint8Array<ArrayBuffer>[]} its parts without EXIF data
 */
function withoutExif(content) {
  if (content[0] !== 0xff || content[1] !== 0xd8) return [content];
  const parts = [content.subarray(0, 2)];
  let at = 2;
  while (content[at] === 0xff && content[at + 1] !== 0xda && at + 4 <= content.length) {
    const end = at + 2 + 256 * (content[at + 2] ?? 0) + (content[at + 3] ?? 0);
    if (content[at + 1] !== 0xe1) parts.push(content.subarray(at, end));
    at = end;
  }
  return [...parts, content.subarray(at)];
}

/**
 * @param {string} path
 * @param {object} [body] a GET without one
 * @returns {Promise<any>}
 */
async function json(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const text = await whole((await request(path, options)).text());
  return text ? JSON.parse(text) : null;
}

/** @param {number} video @param {number} place */
const frames = (video, place) => `/api/frames/${video}/${place}`;

export const api = {
  /** @returns {Promise<Work>} */
  work: () => json("/api/work"),
  /** @param {number} video @returns {Promise<VideoState>} */
  video: (video) => json(`/api/videos/${video}`),
  /** @param {number} since @param {string} session @returns {Promise<Changes>} */
  changes: (since, session) => json(`/api/changes?since=${Math.max(0, since)}&session=${session}`),
  /** @param {string} id @param {string} session @returns {Promise<{items: QueueItem[]}>} */
  queue: (id, session) => json(`/api/queue?id=${encodeURIComponent(id)}&session=${session}`),
  /**
   * @param {number} video @param {number} place
   * @param {string} stamp tells the images of one server from those of another at the same address: they are kept
   * @returns {Promise<ImageBitmap>}
   */
  image: async (video, place, stamp) => {
    const response = await request(`${frames(video, place)}/image?v=${encodeURIComponent(stamp)}`);
    const content = new Uint8Array(await whole(response.arrayBuffer()));
    return createImageBitmap(new Blob(withoutExif(content))).catch(() => {
      throw new ApiError("The browser cannot show the picture of this frame.", 422);
    });
  },
  /** @param {number} video @param {number} place @returns {Promise<Frame>} */
  label: async (video, place) => {
    const { header, ids } = readLabel(await whole((await request(`${frames(video, place)}/label`)).arrayBuffer()));
    return new Frame(header, ids);
  },
  /** @param {number} video @param {number} place @param {string} session @param {string} person @returns {Promise<Header & {version: string}>} */
  open: (video, place, session, person) => json(`${frames(video, place)}/open`, { session, person }),
  /** @param {number} video @param {number} place @param {string} session */
  close: (video, place, session) => json(`${frames(video, place)}/close`, { session }),
  /**
   * @param {number} video @param {number} place
   * @param {{session: string, person: string, version: string | null, server: string, actions: Action[]}} body
   * @returns {Promise<{acknowledged: string[]}>}
   */
  actions: (video, place, body) => json(`${frames(video, place)}/actions`, body),
  /**
   * @param {number} video @param {number} place
   * @param {{session: string, person: string, version: string | null, server: string, verdict: string, action: Action}} body
   * @returns {Promise<{state: string, next: [number, number] | null}>}
   */
  finish: (video, place, body) => json(`${frames(video, place)}/finish`, body),
  /**
   * @param {{session: string, video: number, place: number, object: number | null, points: [number, number, boolean][],
   *   box: [number, number, number, number] | null, base: Patch | null}} body
   * @returns {Promise<{patch: Patch, score: number}>}
   */
  prompt: (body) => json("/api/prompt", body),
  /** @param {number} video @param {number} first @param {number} last */
  propagate: (video, first, last) => json("/api/propagate", { video, first, last }),
  cancel: () => json("/api/propagate/cancel", {}),
  /** @param {number} video @param {number} place @param {number} object @param {boolean} locked */
  lockObject: (video, place, object, locked) => json("/api/lock_object", { video, place, object, locked }),
  /** Ends the session; works while the page goes away. @param {string} session */
  leave: (session) =>
    navigator.sendBeacon("/api/leave", new Blob([JSON.stringify({ session })], { type: "application/json" })),
};
