// Notices about failures, and announcements for screen readers.

import { byId, write } from "./dom.js";
import { post } from "./store.js";
import { t } from "./texts.js";

const SHOWN_MS = 6000;
const PAUSE_MS = 800;

let hiding;
let isWaiting = false;
let next = "";

/** Posts an action, and shows a notice if it fails. */
export async function request(path, body) {
	try {
		return await post(path, body);
	} catch (error) {
		notice(error.message ? t("notice.failed", { why: error.message }) : t("top.lost"));
		return null;
	}
}

/** Empties a field and posts its text with `send`; puts the text back if that fails. */
export async function submit(field, send) {
	const text = field.value;
	if (!text.trim()) return;
	field.value = "";
	if ((await send(text)) === null && !field.value) field.value = text;
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

/** Announces only the latest text of a short pause, so that a busy bridge does not talk on and on. */
export function announce(text) {
	next = text;
	if (isWaiting) return;
	isWaiting = true;
	setTimeout(() => {
		isWaiting = false;
		write(byId("live"), next);
	}, PAUSE_MS);
}
