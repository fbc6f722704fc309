// The page of the service: photographs go in, answers come out. What a file or the service says is set as text, never
// as markup.
"use strict";

const NEIGHBOURS = { recognise: 5, search: 10 };
const MOST_UNDER_WAY = 2;
const MOST_AT_ONCE = 50;
const MOST_TRIES = 6;
const LONGEST_PAUSE_S = 30;
const LONGEST_ANSWER_S = 60;
const TOKEN = "shelfmark.token";

const KINDS = {
  product: { badge: "Product", reason: "One product stands out from all others." },
  shortlist: { badge: "Short list", reason: "Most likely one of these. The photograph does not tell which." },
  family: { badge: "Family", reason: "The family is clear, the product in it is not." },
  unknown: { badge: "Unknown", reason: "Nothing that the service knows comes near enough." },
};
const NO_PROMISE = "No promise: every photograph gets a product, even one of a product that the service does not know.";
const WAITS_FOR_TOKEN = "Waits for the token.";
// By the codes of the service, and of what the page itself finds.
const FAULTS = {
  busy: "The service is busy",
  empty: "The file is empty",
  late: "No answer in time",
  no_explanation: "This model cannot be explained",
  no_picture: "The file is empty",
  not_an_image: "Not a photograph",
  not_ready: "The service is not ready",
  offline: "The service does not answer",
  too_large: "Too large",
  too_many_pixels: "Too large",
  too_slow: "No answer in time",
  unreadable: "The file cannot be read",
};
const TOO_LARGE = ["too_large", "too_many_pixels"];
const FINAL = [...TOO_LARGE, "empty", "no_picture", "not_an_image", "unreadable"];

const byId = (id) => document.getElementById(id);
const waiting = [];
let cards = [];
let numCards = 0;
let info = null;
let token = stored();
let locked = false;
let underWay = 0;

/** Why a photograph has no answer. `code` is one of the service, or one of FAULTS. */
class Fault extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Photographs come in.

function take(files, left = "") {
  const taken = files.slice(0, MOST_AT_ONCE);
  notice(files.length > taken.length ? `The first ${taken.length} of ${files.length} photographs were taken.` : left);
  if (!taken.length) return;
  const made = taken.map(newCard);
  cards = [...made, ...cards];
  byId("cards").prepend(...made.map((card) => card.element));
  shape();
  made.forEach(refresh);
  if (!locked) made[0].element.scrollIntoView({ block: "nearest" });
  say(made.length === 1 ? `${taken[0].name}: sent.` : `${made.length} photographs: sent.`);
}

function newCard(file) {
  const element = byId("card").content.firstElementChild.cloneNode(true);
  const card = { file, element, replies: {}, preview: URL.createObjectURL(file), busy: false, removed: false };
  card.number = numCards += 1;
  card.why = newExplanation();
  element.querySelector("figcaption").textContent = file.name;
  const image = element.querySelector("img");
  image.alt = `Your photograph ${file.name}`;
  image.addEventListener("error", () => image.replaceWith(make("span", "blank", "No preview")));
  image.src = card.preview;
  const button = element.querySelector(".remove");
  button.setAttribute("aria-label", `Remove ${file.name}`);
  button.addEventListener("click", () => remove(card));
  return card;
}

function remove(card) {
  const next = cards[cards.indexOf(card) + 1] ?? cards[cards.indexOf(card) - 1];
  discard(card);
  shape();
  (next?.element.querySelector(".remove") ?? byId("files")).focus();
}

function discard(card) {
  card.removed = true;
  card.stop?.abort();
  card.wake?.();
  URL.revokeObjectURL(card.preview);
  card.element.remove();
  cards = cards.filter((one) => one !== card);
}

function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const single = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory);
  let left = "";
  if (items.length > single.length) left = "Folders were left out. Drop the photographs that are in them.";
  if (!items.length) left = "That was no file. Copy the picture itself and paste it here.";
  take(single.map((item) => item.getAsFile()).filter(Boolean), left);
}

function pasted(event) {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    take(files);
  } else if (event.target.id !== "token") {
    notice("There is no picture on the clipboard.");
  }
}

// Questions go out, few at a time.

const mode = () => (byId("search-only").checked ? "search" : "recognise");

/** Shows what is known of a card in the present mode, or asks for it. */
function refresh(card) {
  if (card.removed) return;
  const reply = card.replies[mode()];
  if (reply) return draw(card, reply);
  drawWaiting(card, card.busy ? "Looking …" : locked ? WAITS_FOR_TOKEN : "Waits for its turn.");
  if (card.busy) return;
  card.busy = true;
  waiting.push(card);
  next();
}

function next() {
  while (!locked && underWay < MOST_UNDER_WAY && waiting.length) {
    const card = waiting.shift();
    drawWaiting(card, "Looking …");
    underWay += 1;
    answer(card).finally(() => {
      underWay -= 1;
      next();
    });
  }
}

async function answer(card) {
  const asked = mode();
  try {
    if (!card.removed) {
      card.replies[asked] = await ask(card, `${asked}?k=${NEIGHBOURS[asked]}`, (pause_s) => {
        if (asked === mode()) drawWaiting(card, `The service is busy. Next try in ${pause_s} s.`);
      });
    }
  } catch (error) {
    if (error.code === "token") {
      waiting.unshift(card);
      drawWaiting(card, WAITS_FOR_TOKEN);
      // What was sent before the present token says nothing about it.
      if (card.token === token) lock(error.message);
      return;
    }
    card.replies[asked] = { fault: error };
  }
  card.busy = false;
  if (!info && !card.replies[asked]?.fault) loadInfo();
  if (!card.removed && asked === mode()) say(`${card.file.name}: ${spoken(card.replies[asked])}`);
  refresh(card);
}

/** The answer at `path`. A busy service is asked again; `pause` is told how many seconds later. */
async function ask(card, path, pause) {
  await check(card.file);
  for (let tries = 1; ; tries += 1) {
    const response = await post(card, path);
    if (response.status !== 503 || tries === MOST_TRIES || card.removed) return answerIn(response);
    const pause_s = pauseOf(response);
    pause(pause_s);
    if (tries === 1) say(`${card.file.name}: the service is busy, it is tried again.`);
    await new Promise((resolve) => {
      card.wake = resolve;
      setTimeout(resolve, pause_s * 1000);
    });
  }
}

/** Seconds after which the service wants to be asked again. */
function pauseOf(response) {
  return Math.min(Math.max(Number.parseInt(response.headers.get("Retry-After"), 10) || 2, 1), LONGEST_PAUSE_S);
}

async function check(file) {
  if (!file.size) throw new Fault("empty", "There is nothing in it.");
  if (info && file.size > info.limits.bytes) throw new Fault("too_large", `The file has ${megabytes(file.size)}.`);
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Fault("unreadable", "It was moved or changed since it was chosen, or it is a folder.");
  }
}

async function post(card, path) {
  card.stop = new AbortController();
  card.token = token;
  const timer = setTimeout(() => card.stop.abort(), LONGEST_ANSWER_S * 1000);
  const type = card.file.type.startsWith("image/") ? card.file.type : "application/octet-stream";
  try {
    return await fetch(path, {
      method: "POST",
      body: card.file,
      headers: { ...permission(), "Content-Type": type },
      signal: card.stop.signal,
    });
  } catch {
    if (card.stop.signal.aborted) throw new Fault("late", `There was none within ${LONGEST_ANSWER_S} s.`);
    throw new Fault("offline", "It may have stopped, or the network is away.");
  } finally {
    clearTimeout(timer);
  }
}

async function answerIn(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    body = {};
  }
  const one = body.answers?.[0];
  const error = body.error ?? one?.error;
  if (response.status === 401) throw new Fault("token", error?.message ?? "");
  if (error) throw new Fault(error.code ?? "", sentence(error.message ?? String(error)));
  if (!one) throw new Fault("", `The service answered with status ${response.status}.`);
  return one;
}

// The service, and the token that it may ask for.

async function loadInfo() {
  const sent = token;
  try {
    const response = await fetch("info", { headers: permission() });
    if (sent !== token) return undefined;
    if (response.status === 401) return lock();
    if (response.status === 503) {
      byId("about").textContent = "The service is not ready yet.";
      return setTimeout(loadInfo, pauseOf(response) * 1000);
    }
    if (!response.ok) throw new Fault("", "");
    info = await response.json();
  } catch {
    byId("about").textContent = "The service does not answer.";
    return undefined;
  }
  const { model, index } = info;
  const parts = [model.name, count(model.classes, "product")];
  if (index) parts.push(count(index.images, "picture"));
  byId("about").textContent = parts.join(" · ");
  byId("search-only").disabled = !index;
  if (!index) byId("search-why").textContent = "Needs an index; the service was started without one.";
  tellPromise();
  locked = false;
  byId("token-form").hidden = true;
  return next();
}

/** The promise of the service, once for all cards; a card whose answer has another one says that itself. */
function tellPromise() {
  const line = promiseLine(info.promise);
  const isNew = line.textContent !== byId("promised").textContent;
  byId("standing").textContent = line.textContent;
  byId("standing").hidden = false;
  byId("promised").textContent = line.textContent;
  byId("promised").className = line.className;
  shape();
  if (isNew) cards.filter((card) => card.replies[mode()]).forEach(refresh);
}

function lock(why = "") {
  const form = byId("token-form");
  const words = token
    ? "The service does not accept this token."
    : why || "The service asks for it. It is kept until this tab is closed.";
  locked = true;
  if (!form.hidden && byId("token-why").textContent === words) return;
  byId("token-why").textContent = words;
  form.hidden = false;
  byId("token").focus();
  say(words);
}

function useToken(event) {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  byId("token-why").textContent = "";
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // A browser that stores nothing asks again after a reload.
  }
  loadInfo();
}

function stored() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return "";
  }
}

const permission = () => (token ? { Authorization: `Bearer ${token}` } : {});

// Cards are drawn.

function drawWaiting(card, words) {
  if (card.removed) return;
  clearRegions(card);
  card.element.className = "card waiting";
  card.element.setAttribute("aria-busy", "true");
  card.element.querySelector(".answer").replaceChildren(
    make("p", "hint", words),
    make("div", words === WAITS_FOR_TOKEN ? "" : "pulse"),
  );
}

function draw(card, reply) {
  card.element.removeAttribute("aria-busy");
  const kind = reply.fault ? "fault" : (reply.answer?.kind ?? "search");
  card.element.className = `card ${kind in KINDS || kind === "fault" ? kind : "search"}`;
  const parts = reply.fault ? faultParts(card, reply.fault) : reply.answer ? answerParts(card, reply) : searchParts(reply);
  card.element.querySelector(".answer").replaceChildren(...parts.filter(Boolean));
  drawExplanation(card);
}

function faultParts(card, fault) {
  const limits = info && TOO_LARGE.includes(fault.code) ? limitWords(info.limits) : "";
  const again = make("button", "button plain", "Try again");
  again.type = "button";
  again.addEventListener("click", () => {
    card.replies = {};
    card.why = newExplanation();
    refresh(card);
    card.element.focus();
  });
  return [
    make("p", "badge", "No answer"),
    make("h3", "", faultTitle(fault)),
    make("p", "reason", [fault.message, limits].filter(Boolean).join(" ")),
    FINAL.includes(fault.code) ? null : again,
  ];
}

function answerParts(card, reply) {
  const { answer, promise } = reply;
  const candidates = reply.candidates ?? [];
  const kind = KINDS[answer.kind] ?? { badge: answer.kind, reason: "" };
  const reason = answer.reason || (answer.kind === "product" && !promise ? "It comes nearest." : kind.reason);
  return [
    make("p", "badge", kind.badge),
    named("h3", answerName(answer)),
    answer.kind === "product" ? score(answer.score) : null,
    make("p", "reason", reason),
    ...memberParts(answer, candidates),
    ownPromise(promise),
    explanationPart(card),
    why(answer, promise, candidates),
    ...pictures("Nearest pictures", answer.neighbours ?? reply.neighbours ?? []),
  ];
}

function promiseLine(promise) {
  return promise ? make("p", "promise", promiseWords(promise)) : make("p", "warning", NO_PROMISE);
}

function ownPromise(promise) {
  const line = promiseLine(promise);
  return line.textContent === byId("promised").textContent ? null : line;
}

function searchParts(reply) {
  const found = reply.neighbours ?? [];
  return [
    make("p", "badge", "Search"),
    found.length ? named("h3", `Most like ${title(found[0])}`) : make("h3", "", "Nothing was found"),
    ...pictures("Nearest pictures", found),
  ];
}

function memberParts(answer, candidates) {
  if (answer.kind !== "shortlist" && answer.kind !== "family") return [];
  return pictures(answer.kind === "family" ? "Products of this family" : "One of these", members(answer, candidates));
}

/** The products of a short list or family, with the scores and pictures of those that are candidates. */
function members(answer, candidates) {
  return (answer.classes ?? []).map((id, place) => {
    const candidate = candidates.find((one) => one.class === id) ?? {};
    return { ...candidate, class: id, name: answer.names?.[place] ?? candidate.name };
  });
}

function why(answer, promise, candidates) {
  const rows = candidates.map((one) => {
    const row = named("li", title(one));
    row.append(score(one.score, "") ?? "");
    return row;
  });
  if (!answer.rule && !promise && rows.length < 2) return null;
  const details = make("details", "why");
  details.append(make("summary", "", "Why this answer"));
  if (answer.rule) {
    const rule = make("p", "", "The rule that decided: ");
    rule.append(make("code", "", answer.rule));
    details.append(rule);
  }
  if (promise?.max_false_accept != null) {
    details.append(make("p", "", `Of products never seen, at most ${percent(promise.max_false_accept)} get an answer.`));
  }
  if (rows.length) {
    details.append(make("p", "", "What comes nearest, by score:"));
    const list = make("ol", "scores");
    list.append(...rows);
    details.append(list);
  }
  return details;
}

function pictures(heading, entries) {
  if (!entries.length) return [];
  const list = make("ul", "pictures");
  for (const one of entries) {
    const tile = make("li");
    const frame = make("div", "frame");
    show(frame, one.picture);
    tile.append(frame, named("span", title(one)));
    if (one.score != null) tile.append(make("span", "number", number(one.score)));
    list.append(tile);
  }
  return [make("h4", "", heading), list];
}

/** Puts the picture at `path` into `frame`. It is fetched where the token must go with it, and tried twice. */
function show(frame, path) {
  const blank = () => frame.replaceChildren(make("span", "blank", "No picture"));
  if (typeof path !== "string" || !path.startsWith("/product/")) return blank();
  const image = make("img");
  image.alt = "";
  image.loading = token ? "eager" : "lazy";
  let tries = 0;
  const load = async () => {
    tries += 1;
    try {
      image.src = token ? await fetched(`.${path}`) : `.${path}`;
    } catch {
      failed();
    }
  };
  const failed = () => (tries < 2 ? setTimeout(load, 1500) : blank());
  image.addEventListener("error", failed);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  frame.append(image);
  return load();
}

async function fetched(url) {
  const response = await fetch(url, { headers: permission() });
  if (!response.ok) throw new Fault("", "");
  return URL.createObjectURL(await response.blob());
}

function score(value, word = "score ") {
  if (value == null) return null;
  const row = make("span", "score");
  if (value >= 0 && value <= 1) {
    const bar = make("span", "track");
    const part = make("span", "part");
    part.style.inlineSize = `${100 * value}%`;
    bar.append(part);
    row.append(bar);
  }
  row.append(make("span", "number", `${word}${number(value)}`));
  return row;
}

// Words.

function answerName(answer) {
  if (answer.kind === "shortlist") return `One of ${count((answer.classes ?? []).length, "product")}`;
  if (answer.kind === "family") return answer.family ?? "A family";
  return answer.kind === "unknown" ? "Not one of the known products" : title(answer);
}

function title(one) {
  return one.name ?? (one.class == null ? "Without a name" : `Product ${one.class}`);
}

function faultTitle(fault) {
  return FAULTS[fault.code] ?? "The service has no answer";
}

function spoken(reply) {
  if (reply.fault) return `${faultTitle(reply.fault)}. ${reply.fault.message}`;
  if (!reply.answer) return reply.neighbours?.length ? `most like ${title(reply.neighbours[0])}.` : "nothing was found.";
  const { answer, promise } = reply;
  const known = answer.score == null ? "" : `, score ${number(answer.score)}`;
  const names = answer.kind === "shortlist" ? `: ${members(answer, reply.candidates ?? []).map(title).join(", ")}` : "";
  return `${answerName(answer)}${names}${known}.${promise ? "" : " No promise."}`;
}

function promiseWords(promise) {
  const wrong = `Promise: at most ${percent(promise.max_wrong)} of answers are wrong (confidence ${percent(promise.confidence)}).`;
  if (promise.coverage == null) return wrong;
  return `${wrong} ${percent(promise.coverage)} of photographs of known products get an answer.`;
}

function sentence(words) {
  return words && words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

const limitWords = ({ bytes, megapixels }) =>
  `The service takes up to ${megabytes(bytes)} and ${megapixels} megapixels. Make the photograph smaller.`;
const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
const percent = (share) => share.toLocaleString("en", { style: "percent", maximumFractionDigits: 1 });
const number = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const count = (many, noun) => `${many.toLocaleString("en")} ${noun}${many === 1 ? "" : "s"}`;

// Small parts.

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function named(tag, name) {
  const made = make(tag);
  const inner = make("bdi", "", name);
  made.append(inner);
  return made;
}

function notice(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
  if (words) say(words);
}

const unsaid = [];

/** Tells who listens; what comes at nearly the same time is told in one go. */
function say(words) {
  unsaid.push(words);
  if (unsaid.length > 1) return;
  setTimeout(() => {
    byId("said").textContent = unsaid.splice(0).join(" ");
  }, 300);
}

function shape() {
  byId("answers").hidden = !cards.length;
  byId("clear").hidden = cards.length < 2;
  byId("promised").hidden = !info || mode() === "search";
  document.body.classList.toggle("answered", cards.length > 0);
}

for (const id of ["files", "camera"]) {
  byId(id).addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = "";
  });
}
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    document.body.classList.add("dropping");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  dropped(event.dataTransfer);
});
document.addEventListener("paste", pasted);
byId("search-only").addEventListener("change", () => {
  shape();
  cards.forEach(refresh);
});
byId("token-form").addEventListener("submit", useToken);
byId("clear").addEventListener("click", () => {
  cards.forEach(discard);
  shape();
  byId("files").focus();
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) byId("paste-keys").textContent = "⌘ V";
loadInfo();
