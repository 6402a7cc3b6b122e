// Notices when something could not be done, and words for a screen reader.

import { byId, write } from "./dom.js";
import { post } from "./store.js";
import { t } from "./texts.js";

const SHOWN_MS = 6000;
const BREATH_MS = 800;

let hiding;
let isSaying = false;
let next = "";

/** Does it over there, and says so when it was not done. */
export async function ask(path, body) {
	try {
		return await post(path, body);
	} catch (error) {
		notice(t("notice.failed", { why: error.message }));
		return null;
	}
}

export function notice(text) {
	const place = byId("notice");
	write(place, text);
	place.hidden = false;
	clearTimeout(hiding);
	hiding = setTimeout(() => {
		place.hidden = true;
	}, SHOWN_MS);
}

/** Says the latest of what came within a breath: a busy bridge must not talk without end. */
export function say(text) {
	next = text;
	if (isSaying) return;
	isSaying = true;
	setTimeout(() => {
		isSaying = false;
		write(byId("live"), next);
	}, BREATH_MS);
}
