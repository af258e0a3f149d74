/** The version of this package, which the sidecar shows to operators. */
export const VERSION = "0.1.0";
