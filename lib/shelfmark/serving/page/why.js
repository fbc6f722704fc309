// Why a photograph got its answer: the regions that speak for it, drawn over the photograph and told in words.
"use strict";

const METHODS = {
  exact: "Exact decomposition: what all places of the photograph add, and a constant, sum to the score.",
  grad_cam: "Grad-CAM: an approximation, whose values do not sum to the score.",
  rollout: "Gradient-weighted attention rollout: an approximation, whose values do not sum to the score.",
};
const AGAINST = "A";
// Of the signs in the photograph, as a part of its longer side.
const SIGN = 0.1;

const newExplanation = () => ({ shown: false, busy: false, reply: null, fault: null, words: "" });

/** The button, and the room for what it shows; null where the service does not explain. */
function explanationPart(card) {
  if (!info?.explains) return null;
  const part = make("div", "explanation");
  const button = make("button", "button plain", "Why? Show it in the photograph");
  const room = make("div", "told");
  button.type = "button";
  room.id = `why-${card.number}`;
  button.setAttribute("aria-controls", room.id);
  button.addEventListener("click", () => toggle(card));
  part.append(button, room);
  return part;
}

function toggle(card) {
  card.why.shown = !card.why.shown;
  if (card.why.shown && !card.why.reply && !card.why.busy) explain(card);
  drawExplanation(card);
}

async function explain(card) {
  const { why } = card;
  Object.assign(why, { busy: true, fault: null, words: "Looking …" });
  drawExplanation(card);
  try {
    why.reply = await ask(card, "recognise?k=0&explain=1", (pause_s) => {
      why.words = `The service is busy. Next try in ${pause_s} s.`;
      drawExplanation(card);
    });
    say(`${card.file.name}: ${spokenReason(why.reply)}`);
  } catch (error) {
    why.fault = error;
    if (error.code === "token") {
      why.shown = false;
      if (card.token === token) lock(error.message);
    } else {
      say(`${card.file.name}: ${faultTitle(error)}. ${error.message}`);
    }
  }
  why.busy = false;
  drawExplanation(card);
}

/** Brings button, words and regions of a card up to date; of one that shows no answer just now, nothing. */
function drawExplanation(card) {
  const part = card.element.querySelector(".explanation");
  const { shown, reply, fault, busy, words } = card.why;
  const isOpen = Boolean(part) && shown;
  clearRegions(card);
  if (!part) return;
  part.querySelector("button").setAttribute("aria-expanded", String(shown));
  const told = part.querySelector(".told");
  told.hidden = !isOpen;
  told.setAttribute("aria-busy", String(busy));
  if (!isOpen) return;
  if (busy) told.replaceChildren(make("p", "hint", words));
  else if (fault) told.replaceChildren(...faultOfReason(card, fault));
  else if (reply) {
    told.replaceChildren(...reasonParts(reply));
    drawRegions(card, reply.explanation);
  }
}

function faultOfReason(card, fault) {
  const again = make("button", "button plain", "Try again");
  again.type = "button";
  again.addEventListener("click", () => {
    explain(card);
    card.element.querySelector(".explanation > button").focus();
  });
  const isFinal = FINAL.includes(fault.code) || fault.code === "no_explanation";
  return [make("p", "", `${faultTitle(fault)}. ${fault.message}`), isFinal ? null : again].filter(Boolean);
}

// In words.

function reasonParts(reply) {
  const { explanation } = reply;
  const [first, second] = compared(reply);
  const heading = make("h4", "", "Why ");
  heading.append(make("bdi", "", title(first)));
  if (second) heading.append(" and not ", make("bdi", "", title(second)));
  if (!explanation.method) return [heading, make("p", "", "The classifier does not know this product; the index does.")];
  const list = make("ul", "regions");
  explanation.regions.forEach((one, place) => list.append(regionLine(String(place + 1), one, first)));
  if (!explanation.regions.length) list.append(make("li", "", "No region of the photograph speaks for it."));
  if (second) explanation.against.forEach((one) => list.append(regionLine(AGAINST, one, second)));
  return [heading, list, tipLine(explanation.tip, first), make("p", "hint", METHODS[explanation.method] ?? "")].filter(
    Boolean,
  );
}

function regionLine(sign, region, product) {
  const line = make("li");
  line.append(make("b", "sign", sign), ` ${region.where}: ${percent(region.share)} of what speaks for `);
  line.append(make("bdi", "", title(product)));
  return line;
}

/** What the answer would be without the first region. */
function tipLine(tip, first) {
  if (!tip) return null;
  const { answer_when_blurred: then } = tip;
  const line = make("p", "", `With region 1 blurred, the answer ${then.class === first.class ? "stays" : "would be"} `);
  line.append(make("bdi", "", title(then)), ".");
  return line;
}

function spokenReason(reply) {
  const [first, second] = compared(reply);
  const where = reply.explanation.regions.map((one) => one.where).join(", ") || "no region speaks for it";
  return `Why ${title(first)}${second ? ` and not ${title(second)}` : ""}: ${where}.`;
}

/** The products that are held against each other, as candidates. */
function compared(reply) {
  const known = reply.candidates ?? [];
  const ids = reply.explanation.classes.length ? reply.explanation.classes : known.slice(0, 1).map((one) => one.class);
  return ids.map((id) => known.find((one) => one.class === id) ?? { class: id });
}

// Over the photograph.

function clearRegions(card) {
  card.element.querySelector(".marks")?.remove();
  card.element.classList.remove("explained");
}

function drawRegions(card, explanation) {
  const frame = card.element.querySelector(".photo .frame");
  if (!explanation.method || !frame.querySelector("img")) return;
  const [height, width] = explanation.picture_px;
  const drawn = byId("marks").content.firstElementChild.cloneNode(true);
  const mark = drawn.firstElementChild;
  drawn.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const size = SIGN * Math.max(width, height);
  const all = explanation.regions.map((one, place) => [String(place + 1), one, "mark"]);
  all.push(...explanation.against.map((one) => [AGAINST, one, "mark against"]));
  drawn.replaceChildren(...all.map(([sign, region, look]) => markOf(mark, sign, region.box, look, size)));
  frame.append(drawn);
  card.element.classList.add("explained");
}

function markOf(template, sign, [x, y, width, height], look, size) {
  const mark = template.cloneNode(true);
  const text = mark.querySelector("text");
  mark.setAttribute("class", look);
  for (const edge of mark.querySelectorAll("rect")) {
    for (const [name, value] of Object.entries({ x, y, width, height })) edge.setAttribute(name, value);
  }
  text.textContent = sign;
  text.setAttribute("x", x + 0.25 * size);
  text.setAttribute("y", y + size);
  text.setAttribute("font-size", size);
  return mark;
}
