/** Why a lease's life ends, and what its lambda and the sidecar hear of it. */

import { LambdaCloseType } from "./interfaces.js";
import * as pb from "./protocol/lambda_pb.js";
import type { Failure } from "./reporting.js";
import type { Deadline } from "./timing.js";

/** Why a life ends. @internal */
export type Ending =
  | { readonly kind: "revoked"; readonly revoked: pb.Revoked; readonly deadline: Deadline }
  | { readonly kind: "stopped" }
  | { readonly kind: "lost"; readonly why: string }
  | Failure;

const STOPPING = new Set([
  pb.RevokeReason.SHUTDOWN,
  pb.RevokeReason.SEEK,
  pb.RevokeReason.HALTED,
  pb.RevokeReason.PAUSED,
]);

/** Whether nothing counts any more that the lambda says from here on. @internal */
export function isDead(ending: Ending): boolean {
  return ending.kind === "lost" || (ending.kind === "revoked" && ending.revoked.deadlineMs === 0);
}

/** The reason that `close` gets. @internal */
export function closeType(ending: Ending): LambdaCloseType {
  if (ending.kind === "stopped") return LambdaCloseType.Stop;
  // After an aborted transaction the lambda's own state has seen what is not there.
  if (ending.kind !== "revoked" || ending.revoked.reason === pb.RevokeReason.ABORTED) return LambdaCloseType.Error;
  return STOPPING.has(ending.revoked.reason) ? LambdaCloseType.Stop : LambdaCloseType.Rebalance;
}

/** The reason that the sidecar gets. @internal */
export function closedReason(ending: Ending, ready: boolean): pb.ClosedReason {
  if (ending.kind === "failed") return pb.ClosedReason.ERROR;
  if (ending.kind === "revoked") return pb.ClosedReason.REVOKED;
  return ready ? pb.ClosedReason.STOPPED : pb.ClosedReason.DECLINED;
}
