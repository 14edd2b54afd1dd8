//! `openapi.yaml`: this API described for machines, made from the routes and [`super::describe`].
//!
//! Texts are written as JSON strings, which YAML reads as they are.

use std::fmt::Write;

use model::Budget;

use super::describe::{DESCRIPTIONS, Description, Kind, Param, methods};
use super::error::ApiError;
use super::{Answered, Ask};
use crate::config::without_password;

/// Versions of OpenAPI by the name that a request uses; the first is used when it names none of them.
pub(super) const VERSIONS: [(&str, &str); 2] = [("3.1", "3.1.0"), ("3.2", "3.2.0")];

pub(super) fn openapi(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let asked = ask.params.get("openapi_version");
    let version = VERSIONS.iter().find(|(name, whole)| [*name, *whole].contains(&asked));
    let (_, version) = version.unwrap_or(&VERSIONS[0]);
    let text = describe(version, &without_password(&ask.config.external_url));
    Ok(Answered::whole("application/yaml; charset=utf-8", text))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn describe(version: &str, base: &str) -> String {
    let mut text = format!(
        "openapi: {version}\ninfo:\n  title: Weir\n  description: {}\n  version: {}\nservers:\n  - url: {}\npaths:\n",
        quoted("Metrics that were sent to Weir, queried as from Prometheus."),
        quoted(env!("CARGO_PKG_VERSION")),
        quoted(&format!("{base}/api/v1")),
    );
    let methods = methods();
    for description in DESCRIPTIONS {
        let Some(methods) = methods.get(description.path) else { continue };
        let _ = writeln!(text, "  /{}:", description.path);
        for method in methods {
            operation(&mut text, method, description);
        }
    }
    text.push_str(COMPONENTS);
    text
}

fn operation(text: &mut String, method: &str, description: &Description) {
    let method = method.to_lowercase();
    let id = description.path.replace(['{', '}'], "").replace(['/', '_', '.'], "-");
    let _ = writeln!(text, "    {method}:\n      operationId: {method}-{id}");
    let _ = writeln!(text, "      summary: {}", quoted(description.does));
    let in_form = method == "post" && description.path != "read" && !description.params.is_empty();
    let in_url = if in_form { &[] } else { description.params };
    let in_path = description.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path: Vec<&str> = in_path.collect();
    if !in_url.is_empty() || !in_path.is_empty() {
        text.push_str("      parameters:\n");
    }
    for name in in_path {
        let _ = writeln!(
            text,
            "        - name: {name}\n          in: path\n          required: true\n          schema: {{type: string}}"
        );
    }
    for param in in_url {
        let _ = writeln!(text, "        - name: {}\n          in: query", quoted(param.name));
        let _ = writeln!(text, "          required: {}", param.is_required);
        let _ = writeln!(text, "          description: {}", quoted(param.does));
        let _ = writeln!(text, "          schema: {}", schema(param));
    }
    if in_form {
        text.push_str(
            "      requestBody:\n        content:\n          application/x-www-form-urlencoded:\n            schema:\n              \
             type: object\n              properties:\n",
        );
        for param in description.params {
            let _ = writeln!(text, "                {}: {}", quoted(param.name), schema(param));
        }
    }
    let _ = writeln!(
        text,
        "      responses:\n        \"200\": {{$ref: \"#/components/responses/{}\"}}",
        answer(description)
    );
    // What a Prometheus reads samples from, and whoever reads a page, are told in plain words why there are none.
    let refused = match description.path {
        "read" | "openmetrics" | "account/metrics" => "Declined",
        _ => "Refused",
    };
    let _ = writeln!(text, "        default: {{$ref: \"#/components/responses/{refused}\"}}");
}

fn schema(param: &Param) -> &'static str {
    match param.kind {
        Kind::Text => "{type: string}",
        Kind::Texts => "{type: array, items: {type: string}}",
        Kind::Time | Kind::Duration => "{type: [string, number]}",
        Kind::Whole => "{type: integer}",
        Kind::Truth => "{type: boolean}",
    }
}

fn answer(description: &Description) -> &'static str {
    match description.path {
        "openapi.yaml" => "Description",
        "read" => "Samples",
        "openmetrics" | "account/metrics" => "Page",
        "notifications/live" => "Nothing",
        "admin/tsdb/snapshot" => "Answer",
        path if path.starts_with("search/") => "Lines",
        path if path.starts_with("admin/") => "Nothing",
        _ => "Answer",
    }
}

const COMPONENTS: &str = r##"components:
  responses:
    Answer:
      description: "What was asked for."
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Answer"}
    Lines:
      description: "Lines of JSON: batches of results, then how it ended."
      content:
        application/x-ndjson:
          schema: {type: string}
    Description:
      description: "This description."
      content:
        application/yaml:
          schema: {type: string}
    Samples:
      description: "Samples as remote read encodes them."
      content:
        "application/x-protobuf": {}
        "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse": {}
    Page:
      description: "A page of metrics, in the form that the client accepts."
      content:
        "text/plain; version=0.0.4; charset=utf-8":
          schema: {type: string}
        "application/openmetrics-text; version=1.0.0; charset=utf-8":
          schema: {type: string}
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited": {}
    Nothing:
      description: "Done; the status is 204."
    Refused:
      description: "Why there is no answer."
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Error"}
    Declined:
      description: "Why there is no answer, in words."
      content:
        text/plain:
          schema: {type: string}
  schemas:
    Answer:
      type: object
      required: [status, data]
      properties:
        status: {const: success}
        data: {}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}
    Error:
      type: object
      required: [status, errorType, error]
      properties:
        status: {const: error}
        errorType: {type: string}
        error: {type: string}
  securitySchemes:
    token: {type: http, scheme: bearer}
security:
  - token: []
"##;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_is_yaml_with_every_path() {
        let text = describe("3.1.0", "https://example.com/\"x");
        let spec: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(spec["servers"][0]["url"], "https://example.com/\"x/api/v1");
        let paths = spec["paths"].as_object().unwrap();
        for (path, methods) in methods() {
            let described = paths[&format!("/{path}")].as_object().unwrap();
            let known: Vec<_> = described.keys().map(|method| method.to_uppercase()).collect();
            assert_eq!(known.len(), methods.len(), "{path}: {known:?}");
            for operation in described.values() {
                for (_, answer) in operation["responses"].as_object().unwrap() {
                    let pointer = answer["$ref"].as_str().unwrap().trim_start_matches('#');
                    assert!(spec.pointer(pointer).is_some(), "{path}: {pointer}");
                }
            }
        }
        let values = &paths["/label/{name}/values"]["get"]["parameters"];
        assert_eq!((&values[0]["in"], &values[1]["name"]), (&"path".into(), &"match[]".into()));
        let form = &paths["/query"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
        assert_eq!(form["schema"]["properties"]["stats"]["type"], "string");
    }
}
