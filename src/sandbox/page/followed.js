// What a call tells of itself: its subject, the message it belongs to, whether it failed.

/** The ids that a call bears: WeChat's and IM's own, and so ties together. */
export function namesOf({ message, also = [] }) {
	return message ? [message, ...also] : also;
}

/** All ids of the message that `id` names, through every call that bears one of them. */
export function idsOf(calls, id) {
	const ids = new Set([id]);
	let size;
	do {
		size = ids.size;
		for (const call of calls) {
			if (isOfMessage(call, ids)) for (const name of namesOf(call)) ids.add(name);
		}
	} while (ids.size > size);
	return ids;
}

export function isOfMessage(call, ids) {
	return namesOf(call).some((name) => ids.has(name));
}

const SUBJECTS = [/CallbackCommand=(?:\w+\.)?(\w+)/, /<Event><!\[CDATA\[(\w+)/, /<MsgType><!\[CDATA\[(\w+)/];

/** What a call is about, where its path does not say so: the callback's name, the event, the kind of message. */
export function subjectOf({ query, request }) {
	const text = `${query} ${request?.decrypted ?? request?.body ?? ""}`;
	return SUBJECTS.map((subject) => subject.exec(text)?.[1]).find(Boolean) ?? "";
}

const CODES = /"(?:errcode|ErrorCode)"\s*:\s*(-?\d+)/;

/** What went wrong, short: the HTTP status, or the platform's code inside a 200. Nothing when all went well. */
export function failureOf({ status, response }) {
	if (status === null) return "×";
	if (status >= 400) return String(status);
	const code = CODES.exec(response?.body ?? "")?.[1] ?? "0";
	return code === "0" ? null : code;
}
