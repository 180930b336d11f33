// A broker that does not answer, or does not take who we say we are: what is known of the request then.

import { NO_ANSWER, SASL_AUTHENTICATION_FAILED, type Verdict, verdictOf } from './errors.ts';

/** No answer from a broker. `sent` = the request may have reached it. */
export class BrokerUnreachable extends Error {
  override readonly name: string = 'BrokerUnreachable';
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super(message);
    this.sent = sent;
  }

  get verdict(): Verdict {
    return { ...NO_ANSWER, persistence: this.sent ? 'unknown' : 'not persisted' };
  }
}

/** The brokers do not take who we say we are. Not asked again for HOLD_MS: accounts get locked. */
export class AuthenticationFailed extends BrokerUnreachable {
  override readonly name = 'AuthenticationFailed';

  constructor(message: string) {
    super(message, false);
  }

  override get verdict(): Verdict {
    return verdictOf(SASL_AUTHENTICATION_FAILED);
  }
}
