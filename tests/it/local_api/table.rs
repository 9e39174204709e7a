//! The document against the route table: no local endpoint and no alias is left out.

use std::collections::{BTreeMap, BTreeSet};

use difygate::route::{CanonicalPath, Decision, LocalEndpoint, RouteTable, Surface};
use http::Method;

use super::{DEVICE, document::Document};

/// The endpoint after this one. Whoever adds one has to put it here.
const fn after(endpoint: LocalEndpoint) -> Option<LocalEndpoint> {
    use LocalEndpoint as E;
    Some(match endpoint {
        E::DeviceCode => E::DeviceToken,
        E::DeviceToken => E::DeviceApprove,
        E::DeviceApprove => E::DeviceDeny,
        E::DeviceDeny => E::ApproveExternal,
        E::ApproveExternal => E::DeviceLookup,
        E::DeviceLookup => E::SsoInitiate,
        E::SsoInitiate => E::SsoComplete,
        E::SsoComplete => E::ApprovalContext,
        E::ApprovalContext => E::DeviceRequest,
        E::DeviceRequest => E::DevicePage,
        E::DevicePage => E::DevicePageAsset,
        E::DevicePageAsset => E::Account,
        E::Account => E::Sessions,
        E::Sessions => E::RevokeSelf,
        E::RevokeSelf => E::RevokeSession,
        E::RevokeSession => return None,
    })
}

/// The local endpoint that a path leads to.
fn local(table: &RouteTable, path: &str) -> Option<LocalEndpoint> {
    let path = path.replace("{id}", "x").replace("{name}", "x");
    let path = CanonicalPath::parse(path.as_bytes()).unwrap();
    match table.decide(&path, &Method::OPTIONS).unwrap() {
        Decision::LocalOptions(endpoint) => Some(endpoint),
        _ => None,
    }
}

/// Where the first generation of the API might have an endpoint.
fn older(path: &str) -> Vec<String> {
    let account = ["/v1/me", "/v1/oauth/authorizations/self"].map(ToOwned::to_owned);
    let Some(name) = path.strip_prefix(DEVICE) else {
        return account.to_vec();
    };
    [
        "/v1/oauth/device",
        "/v1/device",
        "/console/api/oauth/device",
    ]
    .map(|base| format!("{base}{name}"))
    .to_vec()
}

#[test]
fn every_local_endpoint_is_described_under_each_of_its_names() {
    let surface = Surface {
        legacy_paths: true,
        enterprise: true,
        device_page: true,
    };
    let table = RouteTable::new(&[], surface).unwrap();
    let document = Document::read();

    let mut described = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (path, method) in document.served() {
        let endpoint = local(&table, &path).unwrap_or_else(|| panic!("{path} is not local"));
        assert_eq!(endpoint.method().as_str(), method, "{path}");
        for older in older(&path) {
            if let Some(same) = local(&table, &older) {
                names.insert((format!("{same:?}"), older));
            }
        }
        let other = described.insert(format!("{endpoint:?}"), path);
        assert_eq!(other, None, "{endpoint:?} is described once");
    }

    let every = std::iter::successors(Some(LocalEndpoint::DeviceCode), |last| after(*last));
    let every: BTreeSet<String> = every.map(|endpoint| format!("{endpoint:?}")).collect();
    assert_eq!(every, described.into_keys().collect());
    let aliases = document.aliases().into_iter().map(|(path, alias)| {
        let endpoint = local(&table, &path).unwrap();
        (format!("{endpoint:?}"), alias)
    });
    assert_eq!(names, aliases.collect());
}
