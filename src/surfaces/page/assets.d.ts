/** What runs in the browser: client/main.ts with all that it imports, minified. */
export const CLIENT_SCRIPT: string;
/** style.css, minified. */
export const STYLE: string;
