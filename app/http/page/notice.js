// Errors in a person's words.

import { dom } from "./dom.js";

const BUSY = { title: "The server is busy" };
const WORDS = {
  unreachable: { title: "The server cannot be reached", detail: "Check your connection, then try again." },
  unauthorized: { title: "This server needs an API key" },
  image_too_large: { title: "This picture is too large for the server" },
  body_too_large: { title: "This file is too large for the server" },
  unsupported_image: {
    title: "This file cannot be painted",
    detail: "Choose a picture in a common format, such as JPEG, PNG, WebP or AVIF.",
  },
  broken_image: { title: "This picture is damaged", detail: "Part of the file is missing or wrong. Try another copy of it." },
  unknown_style: { title: "The server no longer has this style", detail: "Choose another one." },
  request_timeout: { title: "The upload took too long", detail: "Try again, or use a smaller picture." },
  overloaded: BUSY,
  deadline: BUSY,
  out_of_memory: { title: "The server has too little memory for this picture at the moment" },
  not_ready: { title: "The server is starting" },
  gateway_timeout: BUSY,
};

/** Return a title and a detail for an error. */
export function words(error) {
  const known = WORDS[error.code] ?? {};
  const title = known.title ?? error.title ?? "Something went wrong";
  let detail = known.detail ?? sentence(error.detail ?? error.message ?? "");
  if (error.status >= 500 && error.requestId && !WORDS[error.code]) detail += ` (request ${error.requestId})`;
  return { title: title || "Something went wrong", detail };
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

/** Show a notice. actions: names of buttons with what each does. */
export function show(title, detail, actions = {}) {
  dom.noticeTitle.textContent = title;
  dom.noticeDetail.textContent = detail;
  const buttons = Object.entries(actions).map(([name, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      hide();
      act();
    });
    return button;
  });
  dom.noticeActions.replaceChildren(...buttons);
  dom.notice.hidden = false;
}

/** Show that the server asked to wait, with the seconds that are left. */
export function showWaiting(error, seconds, cancel) {
  const { title } = words(error);
  const text = `Trying again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
  if (!dom.notice.hidden && dom.noticeTitle.textContent === title) {
    dom.noticeDetail.textContent = text; // keep the button, which may have the focus
  } else {
    show(title, text, { "Stop waiting": cancel });
  }
}

export function hide() {
  dom.notice.hidden = true;
}
