// The texts of the page, in the chosen language.

import { choices } from "./choices.js";
import { set, write } from "./dom.js";
import { state } from "./store.js";
import { WORDS } from "./words.js";

const LANGUAGES = ["en", "ko", "zh"];
const TAGS = { en: "en", ko: "ko", zh: "zh-Hans" };

/** The chosen language; else the bridge's own. */
export function language() {
	return [choices.language, state.locale].find((name) => LANGUAGES.includes(name)) ?? "en";
}

/** The text of `key` with its `{places}` filled. An unknown key is returned unchanged. */
export function t(key, values = {}) {
	const text = WORDS[key]?.[LANGUAGES.indexOf(language())] ?? key;
	return text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

export function isKnown(key) {
	return key in WORDS;
}

/** A drill's outcome in words. Values whose name ends in `_ms` are durations. */
export function outcomeText({ key, values = {} }) {
	const shared = key.replace(/\.\w+\.failed$/, ".failed").replace(/\.instance_\w+\./, ".instance.");
	const known = isKnown(key) ? key : shared;
	const shown = Object.entries(values).map(([name, value]) => [name, name.endsWith("_ms") ? duration(value) : value]);
	return t(known, Object.fromEntries(shown));
}

/** Fills the texts of page.html. */
export function translate(root) {
	root.documentElement.lang = TAGS[language()];
	for (const node of root.querySelectorAll("[data-text]")) write(node, t(node.dataset.text));
	for (const node of root.querySelectorAll("[data-label]")) {
		set(node, { "aria-label": t(node.dataset.label) });
		if (node.tagName === "BUTTON") set(node, { title: t(node.dataset.label) });
	}
	for (const node of root.querySelectorAll("[data-placeholder]")) {
		const text = t(node.dataset.placeholder);
		set(node, { placeholder: text, "aria-label": text });
	}
}

export function dayAndSecond(at) {
	const day = new Date(at).toLocaleDateString(TAGS[language()], { month: "short", day: "numeric" });
	return `${day}, ${clockTime(at).slice(0, 8)}`;
}

/** `14:03:22.123`, the same in every language, so that times are aligned. */
export function clockTime(at) {
	const time = new Date(at);
	return `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** A duration, short enough for a table. */
export function duration(ms) {
	if (ms == null) return "–";
	if (ms < 1000) return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
	return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
