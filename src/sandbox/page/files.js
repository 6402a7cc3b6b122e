// Lets the user choose a file, and reads it for sending.

import { notice } from "./notice.js";
import { t } from "./texts.js";

const LIMIT_BYTES = 2 * 1024 * 1024;

/** The chosen file as `{ file, file_name, kind }`; `null` if none was chosen or it is too large. */
export function chooseFile(accept) {
	return new Promise((resolve) => {
		const input = document.createElement("input");
		input.type = "file";
		input.accept = accept;
		input.addEventListener("cancel", () => resolve(null));
		input.addEventListener("change", async () => {
			const [chosen] = input.files;
			if (!chosen || chosen.size > LIMIT_BYTES) {
				if (chosen) notice(t("notice.large"));
				resolve(null);
				return;
			}
			resolve({ file: await base64(chosen), file_name: chosen.name, kind: chosen.type.split("/")[0] });
		});
		input.click();
	});
}

function base64(file) {
	return new Promise((resolve, reject) => {
		const reader = new FileReader();
		reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
		reader.addEventListener("error", () => reject(reader.error));
		reader.readAsDataURL(file);
	});
}
