//! `http_sd_configs`: targets that a server tells, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::HeaderValue;
use ::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use env::Env;
use outbound::{Bounds, Client, ConfigError, Reach, Request, SendError, Unreadable, Url};
use serde::Deserialize;
use tokio::sync::watch;

use super::fixed::group_of;
use super::{Counts, TargetGroup, pause, tell};
use crate::config::{HttpDiscovery, StaticGroup};

const BODY_BYTES_MAX: usize = 32 << 20;
const INFLATED_BYTES_MAX: usize = 32 << 20;

/// A server that is asked.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: Url,
    refresh: Duration,
}

/// Why a server said nothing.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("it answers {0}")]
    Status(u16),
    #[error("unsupported content type {0:?}")]
    Media(String),
    #[error("{0}")]
    Text(String),
}

impl Http {
    pub(super) fn new(config: &HttpDiscovery, env: &Env) -> Result<Self, ConfigError> {
        let missing = || ConfigError { key: "url".to_owned(), message: "is needed".to_owned() };
        Ok(Self {
            client: Client::new(&config.inner, Reach::Anything, env)?,
            url: config.own.url.clone().ok_or_else(missing)?,
            refresh: config.own.refresh_interval,
        })
    }

    pub(super) fn place(&self) -> String {
        format!("http {}", self.url)
    }

    pub(super) async fn run(self, sink: &watch::Sender<Vec<TargetGroup>>, counts: &Counts) {
        let mut last = None;
        loop {
            counts.refresh();
            match self.ask().await {
                Ok(groups) => tell(sink, &mut last, counts, "http", groups),
                Err(error) => counts.failure("http", &self.url.to_string(), &error),
            }
            if pause(sink, self.refresh).await.is_none() {
                return;
            }
        }
    }

    async fn ask(&self) -> Result<Vec<TargetGroup>, Silence> {
        let mut request = Request::get(self.url.clone());
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Ok(seconds) = HeaderValue::from_str(&self.refresh.as_secs_f64().to_string()) {
            request.headers.insert("x-prometheus-refresh-interval-seconds", seconds);
        }
        let bounds = Bounds {
            timeout: self.refresh,
            body_bytes_max: BODY_BYTES_MAX,
            inflated_bytes_max: INFLATED_BYTES_MAX,
            unreadable: Unreadable::Refused,
        };
        let response = self.client.send(request, &bounds).await?;
        if response.status != 200 {
            return Err(Silence::Status(response.status));
        }
        let media = response.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        if !is_json(media) {
            return Err(Silence::Media(model::labels::truncated(media)));
        }
        let text = std::str::from_utf8(&response.body).map_err(|error| Silence::Text(error.to_string()))?;
        let groups = groups(text).map_err(Silence::Text)?;
        let shown = self.url.to_string();
        let group = |(at, group)| {
            let mut group = group_of(group, format!("{shown}:{at}"));
            group.labels.insert("__meta_url".to_owned(), shown.clone());
            group
        };
        Ok(groups.into_iter().enumerate().map(group).collect())
    }
}

/// `application/json`, in UTF-8 if it says.
fn is_json(media: &str) -> bool {
    let (media, charset) = media.split_once(';').unwrap_or((media, ""));
    let charset = charset.trim().to_ascii_lowercase();
    media.trim().eq_ignore_ascii_case("application/json")
        && matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
}

/// Groups as JSON. Other keys than the two are passed over, as Prometheus does.
pub(super) fn groups(text: &str) -> Result<Vec<StaticGroup>, String> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        targets: Option<Vec<String>>,
        #[serde(default)]
        labels: Option<BTreeMap<String, String>>,
    }
    let told: Option<Vec<Told>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let group = |told: Told| StaticGroup {
        targets: told.targets.unwrap_or_default(),
        labels: told.labels.unwrap_or_default(),
    };
    Ok(told.unwrap_or_default().into_iter().map(group).collect())
}
