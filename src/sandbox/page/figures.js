// The outcomes of accepted messages, and the latencies.

import { when } from "./changes.js";
import { byId, el, set, svg, updateList, write } from "./dom.js";
import { state } from "./store.js";
import { duration, isKnown, t } from "./texts.js";

const ENDS = ["delivered", "waiting", "parked", "held", "recalled", "refused", "unknown", "nothing"];

const WIDTH = 360;
const HEIGHT = 64;
const POINTS = 120;
// From 1 ms to 10 s on a logarithmic scale.
const DECADES = 4;
// WeChat waits this long for an answer.
const DEADLINE_MS = 5000;

export function mountFigures() {
	byId("ends-bar").append(...ENDS.map((end) => el("i", { "data-end": end })));
	when(["counters", "desk"], drawCounters);
	when(["latency"], drawLatency);
}

function drawCounters() {
	const counters = sums();
	write(byId("accepted"), counters.accepted);
	updateList(
		byId("ends"),
		ENDS,
		(end) => end,
		(end) => el("div", { "data-end": end }, el("dt"), el("dd")),
		(entry, end) => {
			write(entry.firstElementChild, t(`counter.${end}`));
			write(entry.lastElementChild, counters[end] ?? 0);
			set(entry, {
				"data-none": !counters[end],
				title: isKnown(`counter.${end}.about`) ? t(`counter.${end}.about`) : null,
			});
		},
	);
	// The content security policy forbids style attributes, but not the style property.
	for (const part of byId("ends-bar").children) {
		part.style.flexGrow = counters[part.dataset.end] ?? 0;
		part.hidden = !counters[part.dataset.end];
	}
}

/**
 * The outcomes, which add up to the accepted messages. A push like a follow needs nothing more after its answer, and
 * neither does a command.
 */
function sums() {
	const { accepted = 0, deferred = 0, ...rest } = state.counters;
	const written = state.desk.line.reduce((sum, one) => sum + one.messages, 0);
	const ends = { ...rest, parked: Math.max(deferred, written) };
	const known = ENDS.reduce((sum, end) => sum + (ends[end] ?? 0), 0);
	return { ...ends, accepted: Math.max(accepted, known), nothing: Math.max(accepted - known, 0) };
}

function drawLatency() {
	const { accept_ms: accept, end_to_end_ms: whole } = state.latency;
	const drawing = [gridLine(DEADLINE_MS, "deadline")];
	for (let decade = 0; decade <= DECADES; decade += 1) drawing.push(gridLine(10 ** decade));
	drawing.push(curve(whole, "whole"), curve(accept, "accept"));
	byId("chart").replaceChildren(...drawing);
	const latest = (line) => (line.length ? duration(line.at(-1)[1]) : "–");
	byId("latency-text").replaceChildren(
		el("span", { class: "accept" }, t("latency.accept"), el("b", { text: latest(accept) })),
		el("span", { class: "whole" }, t("latency.whole"), el("b", { text: latest(whole) })),
		el("span", { class: "limit", text: t("latency.limit", { limit: duration(DEADLINE_MS) }) }),
	);
}

function height(ms) {
	const decade = Math.log10(Math.min(Math.max(ms, 1), 10 ** DECADES));
	return HEIGHT - 2 - (decade / DECADES) * (HEIGHT - 4);
}

function gridLine(ms, kind) {
	const y = height(ms).toFixed(1);
	return svg("line", { class: kind, x1: 0, x2: WIDTH, y1: y, y2: y });
}

/** Draws the newest point at the right, one step per message, not per time. */
function curve(points, kind) {
	const step = WIDTH / (POINTS - 1);
	const left = WIDTH - (points.length - 1) * step;
	const places = points.map(([, ms], at) => `${(left + at * step).toFixed(1)},${height(ms).toFixed(1)}`);
	if (places.length === 1) places.unshift(`${WIDTH - 3},${places[0].split(",")[1]}`);
	return svg("polyline", { class: kind, points: places.join(" ") });
}
