// The sandbox's page: the phone, the wire and the desk, with the header, figures and drills.

import { touch, when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { mountDesk } from "./desk.js";
import { byId, el, icon, on, set, updateList, write } from "./dom.js";
import { mountDrills } from "./drills.js";
import { mountFigures } from "./figures.js";
import { mountGuide } from "./guide.js";
import { notice } from "./notice.js";
import { mountPhone } from "./phone.js";
import { load, now, state } from "./store.js";
import { dayAndSecond, language, loadTexts, t, translate } from "./texts.js";
import { mountWire } from "./wire.js";

const VIEWS = ["phone", "wire", "desk", "drills"];

function mountTop() {
	const dark = matchMedia("(prefers-color-scheme: dark)");
	const isDark = () => (choices.theme ? choices.theme === "dark" : dark.matches);
	on("theme", "click", () => choose({ theme: isDark() ? "light" : "dark" }));
	dark.addEventListener("change", () => touch("choices"));
	on("language", "change", async () => {
		const before = choices.language;
		choose({ language: byId("language").value });
		try {
			await loadTexts();
		} catch {
			choose({ language: before });
			notice(t("top.lost"));
		}
		touch("language");
	});
	when(["choices"], () => drawTheme(isDark()));
	when(["bridge", "link"], drawBridge);
	when(["clock", "second"], () =>
		write(byId("clock"), state.isLoaded ? t("top.clock", { at: dayAndSecond(now()) }) : ""),
	);
	when(["choices", "agents"], drawViews);
	when(["language"], () => {
		translate(document);
		byId("language").value = language();
	});
}

function drawTheme(isDark) {
	if (choices.theme) document.documentElement.dataset.theme = choices.theme;
	const label = t(isDark ? "top.light" : "top.dark");
	set(byId("theme"), { "aria-label": label, title: label });
	byId("theme").replaceChildren(icon(isDark ? "sun" : "moon"));
}

function drawBridge() {
	const place = byId("bridge");
	const { bridge } = state;
	const isKnown = state.isLoaded && state.isLinked;
	set(place, { "data-state": isKnown ? bridge.state : "lost", "data-ready": bridge.ready });
	if (!isKnown) {
		write(place, t(state.isLoaded ? "top.lost" : "top.loading"));
		return;
	}
	const all = bridge.instances ?? [];
	const running = all.filter((one) => one.state === "running").length;
	const words = [all.length ? t("bridge.instances", { running, all: all.length }) : t(`bridge.${bridge.state}`)];
	if (bridge.state === "running" && bridge.ready) words.push(t(`ready.${bridge.ready}`));
	if (bridge.pid) words.push(t("bridge.pid", { pid: bridge.pid }));
	words.push(t("bridge.restarts", { count: bridge.restarts ?? 0 }));
	write(place, words.join(" · "));
	set(place, { title: bridge.address });
}

/** On a narrow screen one part is shown at a time. */
function drawViews() {
	set(document.body, { "data-view": choices.view });
	const unread = state.agents.flatMap((agent) => agent.conversations).reduce((sum, one) => sum + one.unread, 0);
	updateList(
		byId("views"),
		VIEWS,
		(view) => view,
		(view) => {
			const show = () => {
				choose({ view });
				touch("agents", "customers", "wire");
			};
			return el("button", { on: { click: show } }, el("span"), el("b", { class: "unread" }));
		},
		(button, view) => {
			set(button, { "aria-current": view === choices.view ? "true" : null });
			write(button.firstElementChild, t(`${view}.title`));
			write(button.lastElementChild, (view === "desk" && unread) || "");
		},
	);
}

await loadTexts();
mountTop();
mountGuide();
mountFigures();
mountPhone();
mountWire();
mountDesk();
mountDrills();
load();
