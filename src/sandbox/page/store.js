// The sandbox's state: fetched once, then updated by server-sent events.

import { touch } from "./changes.js";
import { choices } from "./choices.js";
import { nameText } from "./texts.js";

const WIRE_LIMIT = 1000;
const POINTS_LIMIT = 120;
const RETRY_MS = 1000;

export const state = {
	isLoaded: false,
	isLinked: false,
	now: 0,
	nowAt: 0,
	account: { personal: false, mode: "plain" },
	bridge: { state: "starting", restarts: 0 },
	customers: [],
	agents: [],
	menu: [],
	counters: {},
	latency: { accept_ms: [], end_to_end_ms: [] },
	wire: new Map(),
	drills: [],
	desk: { line: [], in_line: 0, deferred: 0, hours: null },
	script: { state: "idle" },
};

const PARTS = ["link", "bridge", "counters", "latency", "clock", "wire", "account", "customers", "agents", "drills"];

/** WeChat's simulated clock, which keeps running between events. */
export function now() {
	return state.now + (performance.now() - state.nowAt);
}

let source;

/** Fetches the whole state, then listens for changes after it. */
export async function load() {
	let fresh;
	try {
		const response = await fetch("/api/state", { cache: "no-store" });
		if (!response.ok) throw new Error(`${response.status}`);
		fresh = await response.json();
	} catch {
		reconnect();
		return;
	}
	const { sequence, wire, now: clock, ...parts } = fresh;
	Object.assign(state, parts, { isLoaded: true, isLinked: true });
	setClock(clock);
	state.wire = new Map(wire.map((call) => [call.id, call]));
	touch(...PARTS, "desk", "script");
	listen(sequence);
}

function reconnect() {
	state.isLinked = false;
	touch("link");
	setTimeout(load, RETRY_MS);
}

function listen(after) {
	source?.close();
	source = new EventSource(`/api/events?after=${after}`);
	for (const [kind, apply] of Object.entries(EVENTS)) {
		source.addEventListener(kind, (event) => apply(JSON.parse(event.data)));
	}
	source.addEventListener("reload", load);
	source.onerror = () => {
		source.close();
		reconnect();
	};
}

const EVENTS = {
	wire(call) {
		state.wire.set(call.id, call);
		if (state.wire.size > WIRE_LIMIT) state.wire.delete(state.wire.keys().next().value);
		touch("wire");
	},
	customer: entryIn("customers", "openid"),
	agent: entryIn("agents", "user_id"),
	drill: entryIn("drills", "name"),
	bridge: replace("bridge"),
	account: replace("account"),
	counters: replace("counters"),
	desk: replace("desk"),
	script: replace("script"),
	clock(clock) {
		setClock(clock?.now ?? clock);
		touch("clock");
	},
	latency(points) {
		for (const line of ["accept_ms", "end_to_end_ms"]) {
			state.latency[line] = [...state.latency[line], ...(points[line] ?? [])].slice(-POINTS_LIMIT);
		}
		touch("latency");
	},
};

function setClock(at) {
	state.now = at;
	state.nowAt = performance.now();
}

/** Adds or replaces one entry of a part. */
function entryIn(part, key) {
	return (entry) => {
		const list = state[part];
		const at = list.findIndex((other) => other[key] === entry[key]);
		if (at < 0) list.push(entry);
		else list[at] = entry;
		touch(part);
	};
}

/** Replaces a part. */
function replace(part) {
	return (value) => {
		state[part] = value;
		touch(part);
	};
}

/** Posts an action. Throws an error whose message is the reason; it is empty if the server does not answer. */
export async function post(path, body) {
	const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
	const response = await fetch(path, request).catch(() => {
		throw new Error("");
	});
	const answer = await response.json().catch(() => ({}));
	if (!response.ok) throw new Error(answer.error ?? `HTTP ${response.status}`);
	return answer;
}

export function customerOf(openid) {
	return state.customers.find((customer) => customer.openid === openid);
}

/** The customer on the phone: the chosen one, or the first. */
export function customerShown() {
	return customerOf(choices.openid) ?? state.customers[0];
}

export function nameOf(openid) {
	return nameText(customerOf(openid)?.name ?? openid ?? "");
}

/** The number of the customer's colour, of five. */
export function colourOf(openid) {
	const at = state.customers.findIndex((customer) => customer.openid === openid);
	return at < 0 ? null : at % 5;
}
