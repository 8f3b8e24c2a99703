/**
 * Active seconds: the time between two signs of a person at work counts, unless it is a pause or the page was hidden.
 */

export class ActiveClock {
  /**
   * @param {() => number} now seconds since 1970, never going back
   * @param {number} pause a longer time without any sign counts nothing, in seconds
   */
  constructor(now, pause) {
    this.now = now;
    this.pause = pause;
    this.hidden = false;
    this.start = this.last = now();
    this.seconds = 0;
  }

  /** A person has moved the pointer, pressed a key, or turned the wheel. */
  sign() {
    const time = this.now();
    const gap = time - this.last;
    if (!this.hidden && gap <= this.pause) this.seconds += gap;
    this.last = time;
  }

  /** @param {boolean} hidden whether the page has become hidden */
  setHidden(hidden) {
    this.sign();
    this.hidden = hidden;
  }

  /** Start from zero: another frame was opened. */
  restart() {
    this.start = this.last = this.now();
    this.seconds = 0;
  }

  /**
   * The stretch that an action closes: from the end of the one before to now.
   * @returns {{start: number, end: number, seconds: number}}
   */
  take() {
    this.sign();
    const taken = { start: this.start, end: this.last, seconds: this.seconds };
    this.start = this.last;
    this.seconds = 0;
    return taken;
  }

  /** Whether the person seems to be away. */
  get resting() {
    return this.hidden || this.now() - this.last > this.pause;
  }
}

/** @returns {() => number} seconds since 1970 that do not jump when the clock of the machine is set */
export function steadyNow() {
  const origin = Date.now() - performance.now();
  return () => (origin + performance.now()) / 1000;
}
