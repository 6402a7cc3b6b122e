// The wire: every call between the parties, as arrows between their lifelines.

import { mountCall } from "./call.js";
import { touch, when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, icon, listKeys, on, set, stickToEnd, updateList, write } from "./dom.js";
import { request } from "./notice.js";
import { colourOf, load, nameOf, state } from "./store.js";
import { clockTime, duration, t } from "./texts.js";
import { failureOf, idsOf, isOfMessage, isPoll, linkedIds, subjectOf } from "./trace.js";

const LANES = {
	all: () => true,
	wechat: ({ from, to }) => [from, to].includes("wechat"),
	im: ({ from, to }) => [from, to].includes("im"),
	failed: (call) => failureOf(call) !== null,
};

// Rows drawn beyond those in view.
const SPARE = 6;

const texts = new WeakMap();
const list = byId("calls");
const rows = el("div", { role: "presentation", class: "rows" });
const end = stickToEnd(list);
let shown = [];
/** How many polls a shown call stands for. */
let folded = new Map();
/** The topmost call in view, and how far it is scrolled out. */
let anchor = null;

export function mountWire() {
	listKeys(list, step);
	list.addEventListener("click", (event) => {
		const row = event.target.closest("[role=option]");
		if (row) pick(Number(row.dataset.key));
	});
	list.addEventListener("keydown", (event) => {
		if (event.key === "Escape") choose({ call: null, follow: null });
		if (event.key === "Enter" && choices.call !== null) byId("call").querySelector("button")?.focus();
	});
	list.append(rows);
	list.addEventListener("scroll", keepPlace);
	list.addEventListener("scroll", () => touch("scroll"));
	new ResizeObserver(() => touch("scroll")).observe(list);
	on("newest", "click", () => {
		end.follow(true);
		list.focus();
	});
	on("wire-find", "input", () => choose({ find: byId("wire-find").value }));
	on("wire-lane", "change", () => choose({ lane: byId("wire-lane").value }));
	on("reset", "click", async () => {
		await request("/api/reset", {});
		choose({ call: null, follow: null });
		load();
	});
	mountCall(byId("call"));
	when(["language"], drawLanes);
	when(["wire", "choices"], drawCalls);
	when(["scroll", "wire", "choices", "customers"], drawRows);
}

/** The calls of the chosen lane, of the followed message, and with the search text. */
function shownCalls() {
	const all = [...state.wire.values()];
	const ids = choices.follow === null ? null : linkedIds(all, choices.follow);
	const find = choices.find.trim().toLowerCase();
	return all.filter((call) => {
		if (!LANES[choices.lane](call)) return false;
		if (ids && !isOfMessage(call, ids)) return false;
		return !find || searchText(call).includes(find);
	});
}

/** The searchable text of a call, cached because bodies are long. */
function searchText(call) {
	if (!texts.has(call)) texts.set(call, textOf(call));
	return texts.get(call);
}

function textOf(call) {
	const { method, path, status, note, customer, request, response } = call;
	const bodies = [request, response].map((half) => `${half?.body ?? ""} ${half?.decrypted ?? ""}`);
	return [method, path, status, note, nameOf(customer), ...idsOf(call), ...bodies].join(" ").toLowerCase();
}

/** Polls that follow each other, which the newest stands for: an idle bridge makes nothing else. */
function fold(calls) {
	folded = new Map();
	if (choices.find || choices.follow !== null) return calls;
	return calls.filter((call, at) => {
		if (!isPoll(call)) return true;
		const count = (folded.get(calls[at - 1]?.id) ?? 0) + 1;
		folded.delete(calls[at - 1]?.id);
		folded.set(call.id, count);
		const next = calls[at + 1];
		return call.id === choices.call || !next || !isPoll(next);
	});
}

function drawCalls() {
	const calls = shownCalls();
	shown = fold(calls);
	set(list, { "data-empty": shown.length ? null : t(state.wire.size ? "wire.none" : "wire.empty") });
	rows.style.height = `${shown.length * rowHeight()}px`;
	const at = end.isAtEnd() || anchor === null ? -1 : shown.findIndex((call) => call.id === anchor.id);
	if (at >= 0) list.scrollTop = at * rowHeight() + anchor.by;
	end.follow();
	const tally = { shown: calls.length, all: state.wire.size };
	write(byId("wire-tally"), t(calls.length < state.wire.size ? "wire.some" : "wire.all", tally));
	drawFollowing();
}

/** Runs at once, so that a redraw in the same frame does not undo a scroll. */
function keepPlace() {
	const first = Math.max(0, Math.floor(list.scrollTop / rowHeight()));
	anchor = shown[first] ? { id: shown[first].id, by: list.scrollTop - first * rowHeight() } : null;
	return first;
}

function rowHeight() {
	return Number.parseFloat(getComputedStyle(rows).lineHeight);
}

/** Only rows in view are elements, so a thousand calls cost no more than thirty. */
function drawRows(parts) {
	const first = keepPlace();
	const from = Math.max(0, first - SPARE);
	const inSight = shown.slice(from, first + Math.ceil(list.clientHeight / rowHeight()) + SPARE);
	if (parts.has("language")) rows.replaceChildren();
	updateList(
		rows,
		inSight.map((call, at) => ({ call, at: from + at })),
		({ call }) => call.id,
		createRow,
		drawRow,
	);
	set(list, { "aria-activedescendant": byId(`call-${choices.call}`)?.id });
	byId("newest").hidden = end.isAtEnd();
}

function createRow({ call }) {
	const way = { "data-from": call.from, "data-to": call.to };
	return el(
		"div",
		{ role: "option", id: `call-${call.id}`, class: "row" },
		el("time", { text: clockTime(call.at).slice(3) }),
		el("span", { class: "ladder", ...way }, el("i"), el("span", { class: "hidden" })),
		el("span", { class: "what" }, instance(call), el("b", { text: call.path }), el("small")),
		el("span", { class: "status" }),
		el("span", { class: "took" }),
	);
}

/** Which of several bridges took or made the call. */
function instance(call) {
	if (!call.instance) return "";
	const label = t("wire.instance", { number: call.instance });
	return el("i", { class: "instance", role: "img", label, text: call.instance });
}

function drawRow(row, { call, at }) {
	set(row, { "aria-selected": String(call.id === choices.call), "data-colour": colourOf(call.customer) });
	set(row, { "aria-posinset": at + 1, "aria-setsize": shown.length });
	row.style.top = `${at * rowHeight()}px`;
	const count = folded.get(call.id) ?? 1;
	// A call that has ended does not change.
	if (row.call === call && row.count === count) return;
	Object.assign(row, { call, count });
	const failure = failureOf(call);
	set(row, { "data-failed": failure !== null, "data-folded": count > 1 });
	write(row.querySelector(".hidden"), t("wire.way", { from: t(`party.${call.from}`), to: t(`party.${call.to}`) }));
	const about = call.note ?? subjectOf(call);
	write(row.querySelector("small"), count > 1 ? t("wire.folded", { count }) : about);
	write(row.querySelector(".status"), failure ?? call.status);
	write(row.querySelector(".took"), duration(call.took_ms));
}

function step(by) {
	if (!shown.length) return;
	const here = shown.findIndex((call) => call.id === choices.call);
	const there = here < 0 ? shown.length - 1 : Math.min(Math.max(here + by, 0), shown.length - 1);
	pick(shown[there].id);
}

function pick(id) {
	choose({ call: id });
	end.release();
	// Wait until the call's details have their space.
	requestAnimationFrame(() => scrollIntoView(id));
}

function scrollIntoView(id) {
	const above = shown.findIndex((call) => call.id === id) * rowHeight();
	const below = above + rowHeight() - list.clientHeight;
	list.scrollTop = Math.min(Math.max(list.scrollTop, below), above);
}

function drawFollowing() {
	const bar = byId("following");
	const label = t("wire.unfollow");
	const id = `${choices.follow} ${label}`;
	bar.hidden = choices.follow === null;
	if (bar.hidden || bar.dataset.id === id) return;
	bar.dataset.id = id;
	const stop = () => {
		choose({ follow: null });
		list.focus();
	};
	bar.replaceChildren(
		el("span", { text: t("wire.following") }),
		el("code", { text: choices.follow }),
		el("button", { class: "plain square", label, on: { click: stop } }, icon("close")),
	);
}

function drawLanes() {
	const options = Object.keys(LANES).map((lane) => el("option", { value: lane, text: t(`lane.${lane}`) }));
	byId("wire-lane").replaceChildren(...options);
	byId("wire-lane").value = choices.lane;
}
