// Reads a call: its subject, its messages, and whether it failed.

/** The ids of the messages in a call; a call with several ids links them. */
export function idsOf({ message, also = [] }) {
	return message ? [message, ...also] : also;
}

/** All ids that `calls` link to `id`, directly or through other ids. */
export function linkedIds(calls, id) {
	const ids = new Set([id]);
	let size;
	do {
		size = ids.size;
		for (const call of calls) {
			if (isOfMessage(call, ids)) for (const other of idsOf(call)) ids.add(other);
		}
	} while (ids.size > size);
	return ids;
}

export function isOfMessage(call, ids) {
	return idsOf(call).some((id) => ids.has(id));
}

const SUBJECTS = [/CallbackCommand=(?:\w+\.)?(\w+)/, /<Event><!\[CDATA\[(\w+)/, /<MsgType><!\[CDATA\[(\w+)/];

/** The subject of a call whose path does not show it: the callback, the event or the message type. */
export function subjectOf({ query, request }) {
	const text = `${query} ${request?.decrypted ?? request?.body ?? ""}`;
	return SUBJECTS.map((subject) => subject.exec(text)?.[1]).find(Boolean) ?? "";
}

const CODES = /"(?:errcode|ErrorCode)"\s*:\s*(-?\d+)/;

/** The HTTP status of a failed call, or the platform's code in a 200. `null` on success. */
export function failureOf({ status, response }) {
	if (status === null) return "×";
	if (status >= 400) return String(status);
	const code = CODES.exec(response?.body ?? "")?.[1] ?? "0";
	return code === "0" ? null : code;
}

const POLLS = ["/openim/admin_getroammsg", "/openim/query_online_status"];

/** Whether the bridge only asked IM whether there is something new, and IM answered. */
export function isPoll(call) {
	return call.from === "bridge" && POLLS.some((path) => call.path.endsWith(path)) && failureOf(call) === null;
}
