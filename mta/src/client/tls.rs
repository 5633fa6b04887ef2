//! TLS of a session as a policy wants it.

use waypost_config::TlsLevel;
use waypost_mail::{EnhancedStatus, Reply};
use waypost_net::{ClientTls, Names, TlsError, Verification};

use crate::{
    route::{Place, Target, Word},
    smtp::client::{Encryption, End},
    tls_policy::{Demand, Obstacle, OnFailure, SessionTls, TlsPolicy, Towards, next_hop_policy},
};

/// RFC 8689 section 4.2.1.
const ENCRYPTION_NEEDED: EnhancedStatus = EnhancedStatus(5, 7, 10);

/// What is demanded of TLS with a server. What is said to one behind a socket does not leave this machine.
pub async fn tls_policy(towards: &Towards<'_>, target: &Target) -> TlsPolicy {
    match (&target.place, &target.word) {
        (Place::Socket(_), _) => next_hop_policy(TlsLevel::None, Vec::new()),
        (Place::Tcp(_), Some(Word { level, names })) => next_hop_policy(*level, names.clone()),
        (Place::Tcp(address), None) => towards.decide(&target.host, address.port(), target.mx).await,
    }
}

/// Whether the session is to be encrypted; or the reply where the server is not used at all.
pub(super) fn encryption(policy: &TlsPolicy) -> Result<Encryption, Reply> {
    match &policy.demand {
        Demand::NoTls => Ok(Encryption::Never),
        Demand::Offered => Ok(Encryption::Offered),
        Demand::Encrypted | Demand::Named(_) | Demand::Dane { .. } => Ok(Encryption::Required),
        Demand::Unusable(obstacle) => Err(unusable(obstacle, policy.failure)),
    }
}

fn unusable(obstacle: &Obstacle, failure: OnFailure) -> Reply {
    let text = format!("the server is not used: {obstacle}");
    match failure {
        OnFailure::Never => Reply::new(550, ENCRYPTION_NEEDED, text),
        OnFailure::FallBack | OnFailure::TryLater => Reply::new(454, EnhancedStatus(4, 7, 5), text),
    }
}

/// A session that failed for its TLS, where no other time is better: RFC 8689 section 4.2.1 wants the mail back.
pub(super) fn come_back(end: End, policy: &TlsPolicy, seen: &SessionTls) -> End {
    let is_lacking = matches!(seen, SessionTls::Broken(_) | SessionTls::NotOffered);
    match end {
        End::Refused(reply, said) if is_lacking && policy.failure == OnFailure::Never => {
            End::Refused(Reply::new(550, ENCRYPTION_NEEDED, reply.text()), said)
        }
        end => end,
    }
}

/// TLS towards a server by the name that the policy demands; by its address where its name is none that a certificate can have, as
/// an address literal. A name that is not verified is no reason not to send at all.
pub(super) fn client_tls(
    target: &Target,
    policy: &TlsPolicy,
    tls: &Towards<'_>,
) -> Result<ClientTls, TlsError> {
    let roots = || tls.policies.roots(tls.config);
    let host = || vec![target.host.clone()];
    let (server_name, verification) = match &policy.demand {
        // RFC 7672 section 8.1: the server is asked for the TLSA base domain
        Demand::Dane { base, dane } => (base, Verification::Dane(dane.clone())),
        Demand::Named(names) => (&target.host, Verification::Named(roots()?, names.clone())),
        // what is found is told of, and is good enough for REQUIRETLS where the name is sure
        Demand::Offered | Demand::Encrypted | Demand::NoTls | Demand::Unusable(_) => {
            let observed = roots().map(|roots| Verification::Observed(roots, host()));
            (&target.host, observed.unwrap_or(Verification::None))
        }
    };
    let is_demanded = matches!(policy.demand, Demand::Dane { .. } | Demand::Named(_));
    let client = match ClientTls::new(server_name, &verification) {
        Err(_) if !is_demanded || target.host.starts_with('[') => {
            let ip = target.ip().map(|ip| ip.to_string());
            ClientTls::new(ip.as_deref().unwrap_or(&target.host), &verification)
        }
        named => named,
    }?;
    Ok(client.naming(if policy.authentic { Names::Authentic } else { Names::Doubtful }))
}
