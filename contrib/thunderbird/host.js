// Asks mailstamp about a message. mailstamp judges the message itself: the field Digital-Stamp-Class in the header could
// be the sender's.

const HOST = "mailstamp";
// The host refuses requests above 64 MiB.
const LARGEST = 48_000_000;

// Base64 of bytes. String.fromCharCode takes a limited number of arguments.
function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32_768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
  }
  return btoa(text);
}

// Returns { result, said }: the object that the command printed, or null and why. Never throws.
export async function ask(action, message) {
  if (message.size > LARGEST) {
    return { result: null, said: messenger.i18n.getMessage("tooLarge") };
  }
  try {
    const file = await messenger.messages.getRaw(message.id, { data_format: "File" });
    const bytes = new Uint8Array(await file.arrayBuffer());
    const answer = await messenger.runtime.sendNativeMessage(HOST, { action, message: base64(bytes) });
    return { result: answer.status === 0 ? answer.result : null, said: answer.said };
  } catch (error) {
    return { result: null, said: messenger.i18n.getMessage("noHost", String(error.message ?? error)) };
  }
}

// Returns the message that a tab shows, if it shows one alone.
export async function shown(tab) {
  const list = await messenger.messageDisplay.getDisplayedMessages(tab);
  const messages = list.messages ?? list;
  return messages.length === 1 ? messages[0] : null;
}
