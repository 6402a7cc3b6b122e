// The first steps, and the script that plays them by itself.

import { touch, when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, icon, on, set, updateList, write } from "./dom.js";
import { request } from "./notice.js";
import { state } from "./store.js";
import { t } from "./texts.js";

// What is done at each step, where, and whether it has been done.
const STEPS = [
	{ name: "follow", view: "phone", at: "follow", isDone: () => state.customers.some(({ following }) => following) },
	{ name: "ask", view: "phone", at: "phone-text", isDone: () => hasSaid(state.customers, "screen", "me") },
	{ name: "answer", view: "desk", at: "desk-text", isDone: () => hasSaid(conversations(), "messages", "agent") },
];

let isOld = null;

export function mountGuide() {
	byId("guide-close").append(icon("close"));
	on("guide-close", "click", () => choose({ isGuideClosed: true }));
	on("script", "click", play);
	on("guide-script", "click", play);
	when(["customers", "agents", "choices", "script", "link"], draw);
	when(["script", "drills"], drawScript);
}

function conversations() {
	return state.agents.flatMap((agent) => agent.conversations);
}

/** Whether someone has sent a message, other than an event of WeChat's. */
function hasSaid(threads, part, who) {
	return threads.some((thread) => thread[part].some(({ from, kind }) => from === who && kind !== "event"));
}

async function play() {
	const begun = await request("/api/script", {});
	if (begun) choose({ openid: state.script.customer, agent: null, conversations: {}, isGuideClosed: true });
}

function draw() {
	if (!state.isLoaded) return;
	const done = STEPS.map(({ isDone }) => isDone());
	// Whoever comes back needs no guide; whoever has just finished it sees that.
	isOld ??= !done.includes(false);
	byId("guide").hidden = isOld || choices.isGuideClosed;
	const next = done.indexOf(false);
	updateList(
		byId("steps"),
		STEPS,
		(step) => step.name,
		create,
		(item, step) => {
			const at = STEPS.indexOf(step);
			set(item, { "data-done": done[at] });
			set(item.firstElementChild, { "aria-current": at === next ? "step" : null });
			write(item.querySelector("b"), done[at] ? "✓" : at + 1);
			write(item.querySelector("span"), t(`guide.${step.name}`));
		},
	);
	write(byId("guide-next"), t(next < 0 ? "guide.done" : `guide.${STEPS[next].name}.how`));
}

function create({ view, at }) {
	const go = () => {
		choose({ view });
		touch("agents", "customers", "wire");
		byId(at).focus();
	};
	return el("li", {}, el("button", { on: { click: go } }, el("b"), el("span")));
}

function drawScript() {
	const { state: phase } = state.script;
	const isBusy = phase === "running" || state.drills.some((drill) => drill.state === "running");
	set(byId("script"), { disabled: isBusy });
	set(byId("guide-script"), { disabled: isBusy });
	write(byId("script"), t(phase === "idle" ? "script.play" : `script.${phase}`));
}
