// The page: what happens on each click, key press and answer of the server.

import { apiKey, fetchStyles, isAbort, patiently, post } from "./api.js";
import * as comparison from "./comparison.js";
import { describeDevice, describeSeconds, dom, element, extension, save, showBlob } from "./dom.js";
import * as gallery from "./gallery.js";
import * as notice from "./notice.js";
import { Painter } from "./painter.js";
import { SMALLEST_COPY, openPhoto, openSample } from "./photo.js";
import * as reveal from "./reveal.js";
import { address, blend, readAddress, strokeSize } from "./settings.js";
import { Textures } from "./textures.js";

const MAX_BLEND = 8; // styles
const TABS = { paint: dom.tabPaint, compare: dom.tabCompare, textures: dom.tabTextures };

let settings = readAddress(location.hash);
let styles = []; // of the server, those that paint photos
let byId = new Map();
let photo = null;
let shown = null; // the painting on the easel, with its job
let textures = null;

const painter = new Painter({
  started() {
    dom.frame.classList.add("busy");
    dom.download.disabled = true;
    dom.status.textContent = "Painting…";
  },
  upload(job, fraction) {
    dom.progress.hidden = fraction === 1;
    dom.progress.value = fraction;
  },
  wait(job, problem, seconds) {
    notice.showWaiting(problem, seconds, () => {
      painter.stop();
      idle();
    });
  },
  async preview(job, result) {
    notice.hide();
    dom.badge.hidden = false;
    await showPainting(job, result);
  },
  async finished(job, result) {
    notice.hide();
    idle();
    shown = { ...result, job };
    dom.download.disabled = false;
    dom.status.textContent =
      `${titles(job.styles)}, painted in ${describeSeconds(result.seconds)} on the ${describeDevice(result.device)}`;
    await showPainting(job, result);
  },
  failed(job, error) {
    idle();
    dom.status.textContent = "";
    explain(error, paint);
  },
});

function idle() {
  dom.frame.classList.remove("busy");
  dom.badge.hidden = dom.progress.hidden = true;
}

async function showPainting(job, result) {
  dom.after.alt = `Your photo in the style of ${titles(job.styles)}`;
  await showBlob(dom.after, result.blob);
}

const titles = (chosen) => [...chosen.keys()].map((id) => byId.get(id)?.title ?? id).join(" with ");

// What to send

function optionsFor(chosen) {
  const longest = photo.sentSide ? Math.max(photo.sentSide, SMALLEST_COPY) : Infinity;
  const boldest = Math.min(...[...chosen.keys()].map((id) => byId.get(id)?.max_strength ?? 2));
  return {
    style: blend(chosen),
    strength: Math.min(settings.strength, boldest),
    size: Math.min(strokeSize(settings.strokes), longest),
    preserve_colors: settings.colors,
    format: stillFormat(),
  };
}

/** The easel shows one frame of an animation. */
const stillFormat = () => (settings.format === "animation" ? "jpeg" : settings.format);

function paint(isMoving = false) {
  update();
  if (!photo || !settings.styles.size) return;
  const chosen = new Map(settings.styles);
  painter.paint({ photo, styles: chosen, options: optionsFor(chosen) }, isMoving === true);
}

// Photos

async function usePhoto(opened) {
  painter.stop();
  comparison.stop();
  photo?.close();
  photo = opened;
  settings.isSample = photo.isSample;
  dom.formatAnimation.hidden = dom.formatAnimation.disabled = !photo.isAnimation;
  if (settings.format === "animation" && !photo.isAnimation) settings.format = "jpeg";
  shown = null;
  notice.hide();
  dom.welcome.hidden = true;
  dom.easel.hidden = dom.under.hidden = false;
  dom.before.hidden = dom.split.hidden = !photo.width;
  if (photo.width) {
    dom.frame.style.setProperty("--ratio", photo.width / photo.height);
    dom.before.src = photo.url;
    dom.after.src = photo.url;
  } else {
    dom.frame.style.removeProperty("--ratio");
    dom.before.removeAttribute("src");
    dom.after.removeAttribute("src");
  }
  dom.after.alt = "";
  dom.split.value = 0;
  reveal.update();
  if (!settings.styles.size && styles.length) settings.styles.set(styles[0].id, 100);
  if (settings.tab === "compare") openTab("compare");
  paint();
}

async function useFile(file) {
  if (!file) return;
  if (settings.tab === "textures") openTab("paint");
  usePhoto(await openPhoto(file));
}

async function useSample() {
  try {
    await usePhoto(await openSample());
  } catch {
    explain({ code: "unreachable" }, useSample);
  }
}

const actions = {
  choose: () => dom.file.click(),
  photograph: () => dom.camera.click(),
  sample: useSample,
};
for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", actions[button.dataset.action]);
}
for (const input of [dom.file, dom.camera]) {
  input.addEventListener("change", () => {
    useFile(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}
document.addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (file) {
    event.preventDefault();
    useFile(file);
  }
});

let dragDepth = 0; // dragenter and dragleave are also sent for the elements inside
const drag = (change) => (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  dragDepth = change(dragDepth);
  dom.drop.classList.toggle("shown", dragDepth > 0);
};
addEventListener("dragenter", drag((depth) => depth + 1));
addEventListener("dragleave", drag((depth) => depth - 1));
addEventListener("dragover", drag((depth) => depth));
addEventListener("drop", (event) => {
  drag(() => 0)(event);
  useFile(event.dataTransfer?.files[0]);
});

// Styles and blends

function pick(id) {
  settings.styles = new Map([[id, 100]]);
  if (photo) paint();
  else useSample();
}

function addToBlend(id) {
  settings.styles.set(id, 50);
  if (photo) paint();
  else useSample();
}

function canAdd(id) {
  const [first] = settings.styles.keys();
  return (
    settings.styles.size > 0 && settings.styles.size < MAX_BLEND && !settings.styles.has(id) &&
    byId.get(first)?.network === byId.get(id).network
  );
}

function updateBlend() {
  const ids = [...settings.styles.keys()];
  dom.blend.hidden = ids.length < 2;
  const existing = [...dom.blendList.children].map((row) => row.dataset.style);
  if (existing.join() === ids.join()) return; // keep the sliders, one of which may be moving
  dom.blendList.replaceChildren(...(ids.length < 2 ? [] : ids.map(blendRow)));
}

function blendRow(id) {
  const title = byId.get(id)?.title ?? id;
  const range = element("input", { type: "range", min: 0, max: 100, step: 5, value: settings.styles.get(id), id: `weight-${id}` });
  range.addEventListener("input", () => {
    const others = [...settings.styles].some(([other, weight]) => other !== id && weight > 0);
    settings.styles.set(id, Math.max(Number(range.value), others ? 0 : 5));
    paint(true);
  });
  const remove = element("button", { type: "button", className: "quiet", attributes: { "aria-label": `Remove ${title} from the blend` } }, "×");
  remove.addEventListener("click", () => {
    settings.styles.delete(id);
    paint();
  });
  return element("li", { attributes: { "data-style": id } }, element("label", { htmlFor: range.id, textContent: title }), range, remove);
}

// Controls

dom.strength.addEventListener("input", () => {
  settings.strength = Number(dom.strength.value);
  paint(true);
});
dom.strokes.addEventListener("input", () => {
  settings.strokes = Number(dom.strokes.value);
  paint(true);
});
dom.colors.addEventListener("change", () => {
  settings.colors = dom.colors.checked;
  paint();
});
dom.controls.addEventListener("submit", (event) => event.preventDefault());
dom.format.addEventListener("change", () => {
  settings.format = dom.format.value;
  update();
});

dom.download.addEventListener("click", async () => {
  const { job } = shown;
  const format = settings.format;
  dom.download.disabled = true;
  try {
    let { blob } = shown;
    if (job.options.format !== format) {
      const chosen = format === "animation"
        ? { image: job.photo.file, ...job.options, format: "gif", animation: true }
        : { image: await job.photo.copy(job.photo.sentSide), ...job.options, format };
      ({ blob } = await patiently(() => post("/stylize", chosen), { onWait: () => {} }));
    }
    save(blob, `${job.photo.name}-${[...job.styles.keys()].join("-")}.${extension(blob)}`);
  } catch (error) {
    explain(error, () => dom.download.click());
  }
  dom.download.disabled = false;
});

/** Show the settings in the controls and in the address. */
function update() {
  dom.strength.value = settings.strength;
  dom.strengthValue.value = settings.strength === 1 ? "normal" : `${Math.round(settings.strength * 100)} %`;
  dom.strength.setAttribute("aria-valuetext", dom.strengthValue.value);
  dom.strokes.value = settings.strokes;
  dom.strokesValue.value = `${strokeSize(settings.strokes)} px`;
  dom.strokes.setAttribute("aria-valuetext", `painted at ${strokeSize(settings.strokes)} pixels`);
  dom.colors.checked = settings.colors;
  dom.format.value = settings.format;
  gallery.mark(dom.styles, settings.styles, canAdd);
  updateBlend();
  writeAddress();
}

function writeAddress() {
  const fragment = address(settings);
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname);
}

// Errors

function explain(error, retry) {
  if (isAbort(error)) return;
  if (error.status === 401) {
    askForKey(retry);
    return;
  }
  const { title, detail } = notice.words(error);
  const actions = {};
  if (error.status === 413 && photo?.sentSide > SMALLEST_COPY) {
    actions["Use a smaller copy"] = () => {
      photo.shrink();
      retry();
    };
  }
  if (error.isTemporary || !error.status || error.status >= 500) actions["Try again"] = () => retry();
  if ([413, 415, 422].includes(error.status) && error.code !== "bad_option") actions["Choose another photo"] = () => dom.file.click();
  notice.show(title, detail, { ...actions, Dismiss: () => {} });
}

function askForKey(retry) {
  if (apiKey.get()) dom.keyDetail.textContent = "The server does not accept this key. Check it, and try again.";
  dom.key.value = "";
  dom.keyDialog.returnValue = "";
  dom.keyDialog.addEventListener("close", () => {
    if (dom.keyDialog.returnValue === "use" && dom.key.value.trim()) {
      apiKey.set(dom.key.value.trim());
      retry();
    } else {
      notice.show("This server needs an API key", "Without one it does not paint.", { "Enter a key": () => askForKey(retry) });
    }
  }, { once: true });
  if (!dom.keyDialog.open) dom.keyDialog.showModal();
}

dom.keyCancel.addEventListener("click", () => dom.keyDialog.close());

// Tabs

function openTab(name) {
  settings.tab = name;
  for (const [tab, button] of Object.entries(TABS)) {
    const isOpen = tab === name;
    button.setAttribute("aria-selected", String(isOpen));
    button.tabIndex = isOpen ? 0 : -1;
    document.getElementById(button.getAttribute("aria-controls")).hidden = !isOpen;
  }
  notice.hide();
  comparison.stop();
  textures?.stop();
  writeAddress();
  if (name === "compare") compare();
  if (name === "textures") textures?.paint();
}

async function compare() {
  if (!photo) {
    try {
      await usePhoto(await openSample()); // opens this tab again
    } catch {
      explain({ code: "unreachable" }, compare);
    }
    return;
  }
  const options = (style) => optionsFor(new Map([[style.id, 100]]));
  const choose = (id) => {
    openTab("paint");
    pick(id);
    scrollTo({ top: 0 });
  };
  comparison.compare(photo, styles, options, choose, (error) => explain(error, compare));
}

for (const [name, button] of Object.entries(TABS)) {
  button.addEventListener("click", () => openTab(name));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const visible = Object.keys(TABS).filter((tab) => !TABS[tab].hidden);
    const next = visible[(visible.indexOf(name) + step + visible.length) % visible.length];
    openTab(next);
    TABS[next].focus();
  });
}

// Start

async function start() {
  let all;
  try {
    const onWait = (problem, seconds) => notice.showWaiting(problem, seconds, () => location.reload());
    all = await patiently(fetchStyles, { onWait });
    notice.hide();
  } catch (error) {
    explain(error, start);
    return;
  }
  const able = (capability) => all.filter((style) => (style.capabilities ?? ["stylize"]).includes(capability));
  styles = able("stylize");
  byId = new Map(all.map((style) => [style.id, style]));
  gallery.fill(dom.styles, styles, pick, addToBlend);
  const generators = able("generate");
  dom.tabTextures.hidden = !generators.length;
  if (generators.length) {
    textures = new Textures(generators, settings.texture, writeAddress, explain);
  }
  open();
}

/** Show what the address says. */
function open() {
  for (const id of settings.styles.keys()) {
    if (!byId.has(id)) settings.styles.delete(id);
  }
  update();
  if (settings.tab === "textures" && !textures) settings.tab = "paint";
  if (settings.tab !== "paint") openTab(settings.tab);
  if (settings.isSample && settings.tab !== "compare" && !photo) useSample();
  else paint();
}

addEventListener("hashchange", () => {
  const previous = settings;
  settings = readAddress(location.hash);
  Object.assign(previous.texture, settings.texture);
  settings.texture = previous.texture; // the object that the textures tab holds
  if (!settings.isSample && photo?.isSample) settings.isSample = true;
  if (settings.tab === "paint") openTab("paint");
  open();
});

start();
