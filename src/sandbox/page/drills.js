// The drills: what one click breaks, what to expect, whether it came true.

import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, keepUp, set, write } from "./dom.js";
import { ask, say } from "./notice.js";
import { state } from "./store.js";
import { span, t, told } from "./texts.js";

const SIGNS = { idle: "", running: "·", passed: "✓", failed: "×" };
const stood = new Map();

export function mountDrills() {
	when(["drills", "choices"], draw);
}

function running() {
	return state.drills.find((drill) => drill.state === "running");
}

function draw(parts) {
	const current = choices.drill ?? running()?.name ?? state.drills[0]?.name;
	if (parts.has("language")) byId("drill-list").replaceChildren();
	keepUp(
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
			tell(drill);
		},
	);
}

function create({ name }) {
	const title = t(`drill.${name}`);
	const look = () => choose({ drill: name });
	const start = () => {
		if (running()) return;
		look();
		ask(`/api/drills/${encodeURIComponent(name)}`, {});
	};
	const button = el(
		"button",
		{ "aria-describedby": `expect-${name} outcome-${name}`, on: { click: start, focus: look, pointerenter: look } },
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
	const took = drill.took_ms === null ? "" : ` (${span(drill.took_ms)})`;
	return `${verdict} ${drill.outcome ? told(drill.outcome) : ""}${took}`;
}

/** Says an outcome once, when it comes. */
function tell(drill) {
	const before = stood.get(drill.name);
	stood.set(drill.name, drill.state);
	if (before === "running" && drill.state !== "running") say(`${t(`drill.${drill.name}`)}: ${outcome(drill)}`);
}
