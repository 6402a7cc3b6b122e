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

function run(name) {
	choose({ drill: name });
	ask(`/api/drills/${encodeURIComponent(name)}`, {});
}

function draw(parts) {
	const isBusy = state.drills.some((drill) => drill.state === "running");
	const current =
		choices.drill ?? state.drills.find((drill) => drill.state === "running")?.name ?? state.drills[0]?.name;
	if (parts.has("language")) byId("drill-list").replaceChildren();
	keepUp(
		byId("drill-list"),
		state.drills,
		(drill) => drill.name,
		create,
		(item, drill) => {
			set(item, { "data-state": drill.state, "data-current": drill.name === current ? "true" : null });
			set(item.querySelector("button"), { "aria-disabled": isBusy ? "true" : null });
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
		if (!state.drills.some((drill) => drill.state === "running")) run(name);
	};
	const button = el("button", { "aria-describedby": `expect-${name} outcome-${name}` });
	button.append(el("span", { class: "sign", "aria-hidden": "true" }), el("span", { class: "name", text: title }));
	button.addEventListener("click", start);
	button.addEventListener("focus", look);
	button.addEventListener("pointerenter", look);
	return el(
		"li",
		{ "data-drill": name },
		button,
		el(
			"div",
			{ class: "detail" },
			el("h3", { text: title }),
			el("p", {}, el("b", { text: t("drills.expect") }), el("span", { class: "expect", id: `expect-${name}` })),
			el(
				"p",
				{ class: "result" },
				el("b", { text: t("drills.outcome") }),
				el("span", { class: "outcome", id: `outcome-${name}` }),
			),
		),
	);
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
