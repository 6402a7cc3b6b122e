// A list of message bubbles that stays at its end and reports new messages.

import { el, set, stickToEnd, updateList, write } from "./dom.js";
import { clockTime } from "./texts.js";

// The sandbox itself keeps more.
const SHOWN = 200;
const GAP_MS = 5 * 60 * 1000;

/** `draw(key, messages)` shows them, and returns those that are new since the last draw with this key. */
export function bubbleList(list, { classOf, contents, foot, action }) {
	const end = stickToEnd(list);
	let shown = null;
	let latest = -1;

	function create(message, before) {
		const bubble = el("div", { class: "bubble" }, ...contents(message));
		const time = needsTime(message, before) && timeLine(message.at);
		return el("li", {}, time, bubble, el("small", { class: "foot" }), action?.(message));
	}

	function draw(key, all, empty, isReset) {
		const messages = all.slice(-SHOWN);
		const isSame = key === shown && !isReset;
		if (!isSame) list.replaceChildren();
		const fresh = isSame ? messages.filter((message) => message.id > latest) : [];
		latest = messages.at(-1)?.id ?? -1;
		shown = key;
		const before = new Map(messages.map((message, at) => [message.id, messages[at - 1]]));
		set(list, { "data-empty": messages.length ? null : empty });
		updateList(
			list,
			messages,
			// Redraw a message that gets its file or its text later.
			(message) => `${message.id} ${message.text} ${message.media ?? message.url ?? ""}`,
			(message) => create(message, before.get(message.id)),
			(item, message) => {
				set(item, { class: `${classOf(message)}${fresh.includes(message) ? " fresh" : ""}` });
				set(item, { "data-pending": message.pending, title: clockTime(message.at) });
				write(item.querySelector(".foot"), foot(message));
			},
		);
		// Only the newest action of each side is a tab stop: all of them would be too many.
		for (const button of list.querySelectorAll(".action")) set(button, { tabindex: -1 });
		for (const side of [".mine", ".theirs"]) {
			const newest = [...list.querySelectorAll(`${side} .action`)].at(-1);
			if (newest) set(newest, { tabindex: 0 });
		}
		end.follow(!isSame || fresh.some((message) => classOf(message).startsWith("mine")));
		return fresh;
	}

	return { draw };
}

/** Whether a message has the time above it: the first one, and one after a pause. */
function needsTime(message, before) {
	return !before || message.at - before.at > GAP_MS;
}

function timeLine(at) {
	return el("time", { class: "when", datetime: new Date(at).toISOString(), text: clockTime(at).slice(0, 5) });
}
