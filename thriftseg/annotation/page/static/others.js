/**
 * What others do meanwhile: their labels and leases, propagation, new tasks, a server that was started anew.
 */

import { api, ApiError } from "./api.js";

/** @typedef {import("./main.js").Page} Page */

const POLL_MS = 1000;

export class Others {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  async poll() {
    try {
      const changes = await api.changes(this.page.version, this.page.session);
      const restarted = changes.server !== this.page.work.server;
      const anew = restarted || (this.page.workVersion >= 0 && changes.work_version !== this.page.workVersion);
      if (anew) await this.reloadWork(restarted);
      else this.take(changes);
      if (this.page.version < 0) await this.reload();
      this.page.version = changes.version;
      this.page.workVersion = changes.work_version;
      this.page.notices.clear("connection");
      this.page.notices.clear("signed-out");
      if (this.page.outbox.trouble?.status !== 503) this.page.outbox.run();
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) this.page.notices.connectionLost();
      else this.page.trouble(error);
    } finally {
      setTimeout(() => this.poll(), POLL_MS); // whatever went wrong: it is what keeps the lease
    }
  }

  /** @param {import("./api.js").Changes} changes */
  take({ frames, leases, job, message }) {
    this.page.mark(frames);
    for (const [video, place] of frames) {
      this.page.player.forget(video, place);
      const present = video === this.page.video && place === this.page.place;
      if (present && !this.page.player.playing && (!this.page.leased || this.page.visits.untouched())) this.page.visits.showAgain();
    }
    for (const [index, known] of this.page.videos) {
      known.leases = Object.fromEntries(leases.filter(([video]) => video === index).map(([, place, who]) => [place, who]));
    }
    const others = leases.some(([video, place]) => video === this.page.video && place === this.page.place);
    if (this.page.taken && !others) {
      clearTimeout(this.page.settling);
      this.page.visits.open(this.page.visit);
    } else if (this.page.leased && others && !this.page.outbox.has(this.page.video, this.page.place) && !this.page.tools.busy) {
      this.page.visits.go(this.page.video, this.page.place); // the lease ended meanwhile, as while the machine slept
    }
    if (this.page.state) this.page.timeline.show(this.page.state, this.page.place);
    this.page.notices.job(job);
    if (message) this.page.notices.tell("server", message);
  }

  /** What has changed before the first look is told by nobody. */
  async reload() {
    this.page.videos.set(this.page.video, await api.video(this.page.video));
    if (this.page.state) this.page.timeline.show(this.page.state, this.page.place);
  }

  /** Another round of tasks, or a server that was started anew. @param {boolean} restarted */
  async reloadWork(restarted) {
    const id = this.page.work.videos[this.page.video]?.id;
    const before = JSON.stringify(this.page.work.videos);
    this.page.work = await api.work();
    this.page.queue.work = this.page.work;
    this.page.player.kept.clear();
    this.page.videos.clear();
    const same = JSON.stringify(this.page.work.videos) === before;
    if (!same) this.page.known.clear();
    const video = this.page.work.videos.findIndex((each) => each.id === id);
    this.page.nameVideos(Math.max(0, video));
    if (restarted && same) {
      if (!this.page.leased || this.page.visits.untouched()) await this.page.visits.go(this.page.video, this.page.place);
      else await this.reload();
    } else if (restarted && video >= 0) await this.page.visits.go(video, Math.min(this.page.place, (this.page.work.videos[video]?.frames ?? 1) - 1));
    await this.page.queue.load();
    const [first] = this.page.queue.items;
    if (!restarted || video < 0) await this.page.visits.go(first?.[0] ?? 0, first?.[1] ?? 0);
    this.page.outbox.run();
  }
}
