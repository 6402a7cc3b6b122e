// The drills: buttons, expectations and outcomes.

import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, set, updateList, write } from "./dom.js";
import { announce, request } from "./notice.js";
import { state } from "./store.js";
import { duration, outcomeText, t } from "./texts.js";

const SIGNS = { idle: "", running: "·", passed: "✓", failed: "×" };
const lastState = new Map();
/** When each running drill began, by the page's clock. */
const began = new Map();

export function mountDrills() {
	when(["drills", "choices"], draw);
	when(["second"], drawCountdown);
}

function running() {
	return state.drills.find((drill) => drill.state === "running");
}

function draw(parts) {
	const current = choices.drill ?? running()?.name ?? state.drills[0]?.name;
	if (parts.has("language")) byId("drill-list").replaceChildren();
	updateList(
		byId("drill-list"),
		state.drills,
		(drill) => drill.name,
		create,
		(item, drill) => {
			set(item, { "data-state": drill.state, "data-current": drill.name === current });
			// A long outcome scrolls.
			set(item.querySelector(".detail"), { tabindex: drill.name === current ? 0 : null });
			set(item.querySelector("button"), { "aria-disabled": running() ? "true" : null });
			write(item.querySelector(".sign"), SIGNS[drill.state] ?? "");
			write(item.querySelector(".expect"), t(drill.expect));
			write(item.querySelector(".outcome"), outcome(drill));
			announceOutcome(drill);
		},
	);
}

function create({ name }) {
	const title = t(`drill.${name}`);
	const select = () => choose({ drill: name });
	const start = async () => {
		if (running()) return;
		select();
		const begun = await request(`/api/drills/${encodeURIComponent(name)}`, {});
		// The phone and the desk show the drill's customer.
		const openid = state.drills.find((drill) => drill.name === name)?.customer;
		if (begun && openid) choose({ openid, agent: null, conversations: {} });
	};
	const button = el(
		"button",
		{ "aria-describedby": `outcome-${name} expect-${name}`, on: { click: start, focus: select, pointerenter: select } },
		el("span", { class: "sign", "aria-hidden": "true" }),
		el("span", { class: "name", text: title }),
	);
	const line = (part) =>
		el("p", {}, el("b", { text: t(`drills.${part}`) }), el("span", { class: part, id: `${part}-${name}` }));
	const detail = el("div", { class: "detail" }, el("h3", { text: title }), line("outcome"), line("expect"));
	return el("li", { "data-drill": name }, button, detail);
}

function outcome(drill) {
	if (drill.state === "idle") return t("drills.idle");
	if (drill.state === "running") return countdown(drill);
	const verdict = t(`drills.${drill.state}`);
	const took = drill.took_ms === null ? "" : ` (${duration(drill.took_ms)})`;
	return `${verdict} ${drill.outcome ? outcomeText(drill.outcome) : ""}${took}`;
}

/** How long it has run, and how long it may. */
function countdown(drill) {
	if (!began.has(drill.name)) began.set(drill.name, performance.now() - (drill.running_ms ?? 0));
	const seconds = Math.round((performance.now() - began.get(drill.name)) / 1000);
	return t("drills.running", { seconds, left: Math.max(0, Math.round(drill.limit_ms / 1000) - seconds) });
}

function drawCountdown() {
	const drill = running();
	if (drill) write(byId(`outcome-${drill.name}`), countdown(drill));
}

/** Announces an outcome once, when the drill ends. */
function announceOutcome(drill) {
	const before = lastState.get(drill.name);
	lastState.set(drill.name, drill.state);
	if (drill.state !== "running") began.delete(drill.name);
	if (before === "running" && drill.state !== "running") announce(`${t(`drill.${drill.name}`)}: ${outcome(drill)}`);
}
