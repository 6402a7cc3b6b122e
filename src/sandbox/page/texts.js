// The texts of the page, in the chosen language.

import { choices } from "./choices.js";
import { set, write } from "./dom.js";

const TAGS = { en: "en", ko: "ko", zh: "zh-Hans" };

let words = new Map();

/** The chosen language; else the first of the browser's that the page has. */
export function language() {
	const wanted = [choices.language, ...navigator.languages.map((tag) => tag.slice(0, 2))];
	return wanted.find((name) => name in TAGS) ?? "en";
}

/** Loads the texts of the language, for each of which the server makes a list from words.js: a key, a tab and the text. */
export async function loadTexts() {
	const list = await (await fetch(`/page/words-${language()}.txt`)).text();
	words = new Map(list.split("\n").map((line) => line.split("\t")));
}

/** The text of `key` with its `{places}` filled. An unknown key is returned unchanged. */
export function t(key, values = {}) {
	const text = words.get(key) ?? key;
	return text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

export function isKnown(key) {
	return words.has(key);
}

/** A name that the sandbox gave, in the chosen language; any other name as it is. */
export function nameText(name) {
	const [, kind, number] = /^(Customer|Script|Drills|Drills, another)(?: (\d+))?$/.exec(name) ?? [];
	return kind ? t(`name.${kind}`, { number }) : name;
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

/** The time since `at` as `m:ss`. */
export function timeSince(at) {
	const seconds = Math.max(0, Math.round((Date.now() - at) / 1000));
	return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A duration, short enough for a table. */
export function duration(ms) {
	if (ms == null) return "–";
	if (ms < 1000) return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
	return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
