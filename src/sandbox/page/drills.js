// The drills: buttons, expectations and outcomes.

import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, set, updateList, write } from "./dom.js";
import { announce, request } from "./notice.js";
import { state } from "./store.js";
import { duration, outcomeText, t } from "./texts.js";

const SIGNS = { idle: "", running: "·", passed: "✓", failed: "×" };
const lastState = new Map();

export function mountDrills() {
	when(["drills", "choices"], draw);
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
	const start = () => {
		if (running()) return;
		select();
		request(`/api/drills/${encodeURIComponent(name)}`, {});
	};
	const button = el(
		"button",
		{ "aria-describedby": `expect-${name} outcome-${name}`, on: { click: start, focus: select, pointerenter: select } },
		el("span", { class: "sign", "aria-hidden": "true" }),
		el("span", { class: "name", text: title }),
	);
	const line = (part) =>
		el("p", {}, el("b", { text: t(`drills.${part}`) }), el("span", { class: part, id: `${part}-${name}` }));
	const detail = el("div", { class: "detail" }, el("h3", { text: title }), line("expect"), line("outcome"));
	return el("li", { "data-drill": name }, button, detail);
}

function outcome(drill) {
	if (drill.state === "idle") return t("drills.idle");
	if (drill.state === "running") return t("drills.running");
	const verdict = t(`drills.${drill.state}`);
	const took = drill.took_ms === null ? "" : ` (${duration(drill.took_ms)})`;
	return `${verdict} ${drill.outcome ? outcomeText(drill.outcome) : ""}${took}`;
}

/** Announces an outcome once, when the drill ends. */
function announceOutcome(drill) {
	const before = lastState.get(drill.name);
	lastState.set(drill.name, drill.state);
	if (before === "running" && drill.state !== "running") announce(`${t(`drill.${drill.name}`)}: ${outcome(drill)}`);
}
