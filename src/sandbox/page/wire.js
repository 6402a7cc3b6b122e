// The wire: every call between the parties as it happens, as arrows between their lifelines.

import { mountCall } from "./call.js";
import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, icon, keepUp, listKeys, set, stickToEnd, write } from "./dom.js";
import { failureOf, idsOf, isOfMessage, subjectOf } from "./followed.js";
import { ask } from "./notice.js";
import { colourOf, load, nameOf, state } from "./store.js";
import { exact, span, t } from "./texts.js";

const LANES = {
	all: () => true,
	wechat: ({ from, to }) => from === "wechat" || to === "wechat",
	im: ({ from, to }) => from === "im" || to === "im",
	page: ({ from }) => from === "page",
	failed: (call) => failureOf(call) !== null,
};

let end;

export function mountWire() {
	const list = byId("calls");
	end = stickToEnd(list);
	listKeys(list, step);
	list.addEventListener("click", (event) => {
		const row = event.target.closest("[role=option]");
		if (row) pick(Number(row.dataset.key));
	});
	list.addEventListener("keydown", (event) => {
		if (event.key === "Escape") choose({ call: null, follow: null });
		if (event.key === "Enter" && choices.call !== null) byId("call").querySelector("button")?.focus();
	});
	list.addEventListener("scroll", drawNewest, { passive: true });
	byId("newest").addEventListener("click", () => {
		end.follow(true);
		list.focus();
	});
	byId("wire-find").addEventListener("input", () => choose({ find: byId("wire-find").value }));
	byId("wire-lane").addEventListener("change", () => choose({ lane: byId("wire-lane").value }));
	byId("reset").addEventListener("click", async () => {
		await ask("/api/reset", {});
		choose({ call: null, follow: null });
		load();
	});
	mountCall(byId("call"));
	when(["language"], drawLanes);
	when(["wire", "customers", "choices"], drawCalls);
}

/** The calls to show: those of the lane, of the message that is followed, and with the words sought. */
function shownCalls() {
	const all = [...state.wire.values()];
	const ids = choices.follow === null ? null : idsOf(all, choices.follow);
	const find = choices.find.trim().toLowerCase();
	return all.filter((call) => {
		if (!LANES[choices.lane](call)) return false;
		if (ids && !isOfMessage(call, ids)) return false;
		return !find || sought(call).includes(find);
	});
}

function sought({ method, path, status, note, message, customer, request, response }) {
	const bodies = [request, response].map((half) => `${half?.body ?? ""} ${half?.decrypted ?? ""}`);
	return [method, path, status, note, message, nameOf(customer), ...bodies].join(" ").toLowerCase();
}

function drawCalls(parts) {
	const list = byId("calls");
	const calls = shownCalls();
	if (parts.has("language")) list.replaceChildren();
	set(list, { "data-empty": calls.length ? null : t("wire.empty") });
	keepUp(list, calls, (call) => call.id, createRow, drawRow);
	end.follow();
	const isShown = choices.call !== null && byId(`call-${choices.call}`) !== null;
	set(list, { "aria-activedescendant": isShown ? `call-${choices.call}` : null });
	const tally = { shown: calls.length, all: state.wire.size };
	write(byId("wire-tally"), calls.length < state.wire.size ? t("wire.some", tally) : t("wire.all", tally));
	drawFollowing();
	drawNewest();
}

function createRow(call) {
	const ladder = el("span", { class: "ladder", "data-from": call.from, "data-to": call.to }, el("i"));
	ladder.append(el("span", { class: "hidden" }));
	return el(
		"div",
		{ role: "option", id: `call-${call.id}`, class: "row" },
		el("time", { text: exact(call.at).slice(3) }),
		ladder,
		el("span", { class: "what" }, el("b", { text: call.path.split("?")[0] }), el("small")),
		el("span", { class: "status" }),
		el("span", { class: "took" }),
	);
}

function drawRow(row, call) {
	set(row, { "aria-selected": String(call.id === choices.call), "data-colour": colourOf(call.customer) });
	// What a call was does not change once it was answered.
	if (row.call === call) return;
	row.call = call;
	const failure = failureOf(call);
	set(row, { "data-failed": failure ? "true" : null });
	write(row.querySelector(".hidden"), t("wire.way", { from: t(`party.${call.from}`), to: t(`party.${call.to}`) }));
	write(row.querySelector("small"), call.note ?? subjectOf(call));
	write(row.querySelector(".status"), failure ?? String(call.status));
	write(row.querySelector(".took"), span(call.took_ms));
}

function step(by) {
	const calls = shownCalls();
	if (!calls.length) return;
	const here = calls.findIndex((call) => call.id === choices.call);
	const there = here < 0 ? calls.length - 1 : Math.min(Math.max(here + by, 0), calls.length - 1);
	pick(calls[there].id);
}

function pick(id) {
	choose({ call: id });
	end.release();
	// Only once the call's details have taken their room.
	requestAnimationFrame(() => byId(`call-${id}`)?.scrollIntoView({ block: "nearest" }));
}

function drawFollowing() {
	const bar = byId("following");
	const isFollowing = choices.follow !== null;
	bar.hidden = !isFollowing;
	if (!isFollowing || bar.dataset.id === `${choices.follow} ${t("wire.unfollow")}`) return;
	bar.dataset.id = `${choices.follow} ${t("wire.unfollow")}`;
	const stop = () => {
		choose({ follow: null });
		byId("calls").focus();
	};
	const label = t("wire.unfollow");
	bar.replaceChildren(
		el("span", { text: t("wire.following") }),
		el("code", { text: choices.follow }),
		el(
			"button",
			{ type: "button", class: "plain square", "aria-label": label, title: label, on: { click: stop } },
			icon("close"),
		),
	);
}

function drawNewest() {
	byId("newest").hidden = end.isAtEnd();
}

function drawLanes() {
	const options = Object.keys(LANES).map((lane) => el("option", { value: lane, text: t(`lane.${lane}`) }));
	byId("wire-lane").replaceChildren(...options);
	byId("wire-lane").value = choices.lane;
}
