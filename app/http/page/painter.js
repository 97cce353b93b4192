// Paints a photo: a small preview first, then the full picture. Only the newest request matters.

import { isAbort, patiently, pause, post } from "./api.js";

const PREVIEW_SIDE = 512; // pixels
const SETTLE = 300; // milliseconds without a change before the full picture is painted

export class Painter {
  #next = null;
  #isRunning = false;
  #preview = null;
  #full = null;

  /** view: has started, upload, wait, preview, finished and failed, which are called with the job. */
  constructor(view) {
    this.view = view;
  }

  /**
   * Paint `job.photo` with `job.options`. A full picture in progress is aborted. A preview too,
   * unless `isMoving`: while a slider moves, previews finish so that the picture keeps up.
   */
  paint(job, isMoving = false) {
    this.#next = { ...job, isMoving };
    this.#full?.abort();
    if (!isMoving) this.#preview?.abort();
    if (!this.#isRunning) this.#run();
  }

  stop() {
    this.#next = null;
    this.#preview?.abort();
    this.#full?.abort();
  }

  async #run() {
    this.#isRunning = true;
    try {
      while (this.#next) {
        const job = this.#next;
        this.#next = null;
        await this.#paint(job).catch((error) => {
          if (!isAbort(error)) this.view.failed(job, error);
        });
      }
    } finally {
      this.#isRunning = false;
    }
  }

  async #paint(job) {
    const { photo, options } = job;
    this.view.started(job);
    if (photo.longestSide > PREVIEW_SIDE) {
      this.#preview = new AbortController();
      const size = Math.min(options.size ?? PREVIEW_SIDE, PREVIEW_SIDE);
      const result = await this.#send(job, PREVIEW_SIDE, { ...options, size, format: "jpeg" }, this.#preview);
      this.view.preview(job, result);
      if (this.#next) return;
    }
    this.#full = new AbortController();
    if (job.isMoving) await pause(SETTLE, this.#full.signal);
    const onUpload = (fraction) => this.view.upload(job, fraction);
    const result = await this.#send(job, photo.sentSide, options, this.#full, onUpload);
    this.view.finished(job, result);
  }

  async #send(job, side, options, { signal }, onUpload) {
    const image = await job.photo.copy(side);
    const onWait = (problem, seconds) => this.view.wait(job, problem, seconds);
    return patiently(() => post("/stylize", { image, ...options }, { signal, onUpload }), { signal, onWait });
  }
}
