// What the page says, in each of its languages, and how it says times.

const TEXTS = {
  en: {
    brand: "Device sign-in",
    languages: "Language",
    code: "Code",
    again: "Try again",
    other: "Enter another code",
    "wait.title": "One moment…",
    "enter.title": "Connect a device",
    "enter.lead": "Enter the code that your device or terminal shows.",
    "enter.hint": "8 characters. The letters I, O, Z and the digits 0, 1, 2 are never among them.",
    "enter.fault": "Enter all 8 characters of the code.",
    "enter.go": "Continue",
    "enter.busy": "Checking the code…",
    "choose.title": "Sign in to continue",
    "choose.lead": "You will see who is asking before you approve anything.",
    "choose.account": "Continue with a Dify account",
    "choose.sso": "Continue with SSO",
    "choose.other": "Use a different code",
    "choose.busy": "Going to the sign-in page…",
    "approve.title": "Approve this sign-in?",
    "approve.lead": "A device is asking to use Dify in your name.",
    "approve.as": "Signed in as",
    "approve.workspace": "Workspace: {name}",
    "approve.issuer": "Through {name}",
    "approve.client": "Application",
    "approve.device": "Calls itself",
    "approve.from": "Asked from",
    "approve.elsewhere": "Not the address that you are at",
    "approve.when": "Asked",
    "approve.match": "Must be the code that your device shows",
    "approve.unknown": "unknown",
    "approve.able": "It will be able to",
    "approve.yes": "Approve",
    "approve.no": "Cancel",
    "approve.approving": "Approving…",
    "approve.cancelling": "Cancelling…",
    "approve.changed": "Your sign-in has changed. Check who is signed in before you approve.",
    "scope.full": "do everything in Dify that you can, in all your workspaces",
    "scope.apps:run": "run the apps that you may use",
    "scope.apps:read:permitted-external": "see which apps you may use",
    "scope.life": "stay signed in for {life}, unless you sign it out",
    "warning.title": "Was this not you? Cancel.",
    "warning.text":
      "Approve only if you have just started this yourself, on a device of yours. If somebody sent you the code or a link, they would get in under your name.",
    "done.title": "Your device is signed in",
    "done.text": "Go back to it. You can close this window.",
    "cancelled.title": "Cancelled",
    "cancelled.text": "The device has not been signed in. You can close this window.",
    "expired.title": "This code no longer works",
    "expired.text": "It has expired, has been used, or has a typing mistake. Your device can show a new one: start its sign-in again.",
    "limited.title": "Too many attempts",
    "limited.text": "Please wait {wait}, then try again.",
    "offline.title": "No connection",
    "offline.text": "The server could not be reached. Check your connection, then try again.",
    "problem.title": "Something went wrong",
    "problem.text": "The server could not do this at the moment. Try again, and if it stays like this, ask your administrator.",
    "busy.title": "Being approved already",
    "busy.text": "This sign-in is being approved in another window. Wait a moment, then look again.",
    "ended.title": "This SSO sign-in has ended",
    "ended.text": "Nothing has been approved. Sign in again to go on.",
    "belongs.title": "This e-mail has a Dify account",
    "belongs.text": "SSO is for people without one. Sign in with your Dify account instead.",
    "sso.title": "SSO did not work",
    "sso.text": "Nothing has been approved. Try again, or sign in another way.",
  },
  "zh-Hans": {
    brand: "设备登录",
    languages: "语言",
    code: "代码",
    again: "重试",
    other: "输入其他代码",
    "wait.title": "请稍候…",
    "enter.title": "连接设备",
    "enter.lead": "请输入设备或终端上显示的代码。",
    "enter.hint": "共 8 个字符，不含字母 I、O、Z 和数字 0、1、2。",
    "enter.fault": "请输入完整的 8 位代码。",
    "enter.go": "继续",
    "enter.busy": "正在检查代码…",
    "choose.title": "登录后继续",
    "choose.lead": "在批准之前，您会看到是谁在请求。",
    "choose.account": "使用 Dify 账号继续",
    "choose.sso": "使用 SSO 继续",
    "choose.other": "使用其他代码",
    "choose.busy": "正在前往登录页…",
    "approve.title": "批准此次登录？",
    "approve.lead": "有一台设备请求以您的名义使用 Dify。",
    "approve.as": "当前登录",
    "approve.workspace": "工作空间：{name}",
    "approve.issuer": "身份来源：{name}",
    "approve.client": "应用",
    "approve.device": "设备自称",
    "approve.from": "请求来源",
    "approve.elsewhere": "与您当前的地址不同",
    "approve.when": "请求时间",
    "approve.match": "须与设备上显示的一致",
    "approve.unknown": "未知",
    "approve.able": "批准后，它可以",
    "approve.yes": "批准",
    "approve.no": "取消",
    "approve.approving": "正在批准…",
    "approve.cancelling": "正在取消…",
    "approve.changed": "登录状态已变化。批准前请确认当前登录的是谁。",
    "scope.full": "在您的所有工作空间中，执行您在 Dify 中可执行的一切操作",
    "scope.apps:run": "运行您可使用的应用",
    "scope.apps:read:permitted-external": "查看您可使用的应用",
    "scope.life": "保持登录 {life}，除非您将其登出",
    "warning.title": "不是您本人操作？请取消。",
    "warning.text": "仅当您刚刚在自己的设备上发起登录时才可批准。如果代码或链接是他人发给您的，对方将以您的名义登录。",
    "done.title": "设备已登录",
    "done.text": "请回到设备上继续。您可以关闭此窗口。",
    "cancelled.title": "已取消",
    "cancelled.text": "设备没有登录。您可以关闭此窗口。",
    "expired.title": "此代码已失效",
    "expired.text": "代码已过期、已被使用，或输入有误。请在设备上重新开始登录，以获取新的代码。",
    "limited.title": "尝试次数过多",
    "limited.text": "请等待 {wait}后重试。",
    "offline.title": "无法连接",
    "offline.text": "无法连接到服务器。请检查网络后重试。",
    "problem.title": "出现问题",
    "problem.text": "服务器暂时无法完成此操作。请重试；如果问题持续存在，请联系管理员。",
    "busy.title": "正在批准中",
    "busy.text": "此次登录正在另一个窗口中批准。请稍候再查看。",
    "ended.title": "此次 SSO 登录已结束",
    "ended.text": "尚未批准任何请求。请重新登录以继续。",
    "belongs.title": "此邮箱已有 Dify 账号",
    "belongs.text": "SSO 仅供没有 Dify 账号的人使用。请改用您的 Dify 账号登录。",
    "sso.title": "SSO 登录未成功",
    "sso.text": "尚未批准任何请求。请重试，或换一种方式登录。",
  },
};

// Where the choice of a language is kept, if one has been made.
const LANGUAGE_KEY = "difygate.language";

const language = {
  get chosen() {
    const stored = storage(() => localStorage.getItem(LANGUAGE_KEY));
    const wanted = [stored, ...navigator.languages].filter(Boolean);
    const known = wanted.find((tag) => Object.hasOwn(TEXTS, tag) || /^(en|zh)\b/i.test(tag)) ?? "en";
    return known.startsWith("zh") ? "zh-Hans" : "en";
  },
  set chosen(tag) {
    storage(() => localStorage.setItem(LANGUAGE_KEY, tag));
  },
};

// Storage may be closed to a page; then nothing is kept.
function storage(use) {
  try {
    return use();
  } catch {
    return null;
  }
}

function say(key, values = {}) {
  const text = TEXTS[document.documentElement.lang][key];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// The largest unit of which there is at least one: "2 minutes", "14 days".
function unitOf(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? units.at(-1);
  return [unit, seconds / size];
}

// Rounded up: nobody is told to come back too soon.
function duration(seconds) {
  const [unit, count] = unitOf(seconds < 60 ? seconds : Math.ceil(seconds / 60) * 60);
  const format = { style: "unit", unit, unitDisplay: "long" };
  return new Intl.NumberFormat(document.documentElement.lang, format).format(Math.ceil(count));
}

function ago(seconds) {
  const [unit, count] = unitOf(seconds);
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  return format.format(-Math.floor(count), unit);
}

