//! Generator of `openapi.json` from the operations and types of `vendor_api`. It is compiled for its test only, so that
//! no program contains it.

use super::OPENAPI;
use crate::accounting::order::Order;
use crate::vendor_api::account::{
    AccountStatus, ApiKeys, CodeConfirmation, CodeRequest, CodeSent, History, HistoryQuery, NewApiKey,
    NewApiKeyRequest, Ownership, VoucherRequest, VoucherResponse,
};
use crate::vendor_api::meters::{
    CheckpointRequest, ClearingRequest, HEADER, LicenseRequest, Licenses, MeterReceipt, SignedReceipt,
};
use crate::vendor_api::operation::Operation;
use crate::vendor_api::prices::{PriceQuery, Prices};
use crate::vendor_api::problem::{CODES, ProblemDetails};
use crate::vendor_api::stamps::{
    DepositRequest, DepositResponse, IssueResponse, Orders, RevocationRequest, RevocationResponse,
};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const JSON: &str = "application/json";

/// The document, with its members in this order.
#[derive(Serialize)]
struct Document {
    openapi: &'static str,
    info: Value,
    paths: Map<String, Value>,
    components: Value,
}

/// Who is admitted, and within which limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Unlimited,
    /// Within the rate of the client's address.
    Unauthenticated,
    /// With an API key, within its rate.
    ApiKey,
}

/// Description of an operation.
struct Description {
    id: &'static str,
    summary: &'static str,
    access: Access,
    parameters: Vec<Value>,
    /// Schema of the request's body.
    request: Option<Value>,
    /// Status of success.
    status: u16,
    /// Response with this status.
    response: Value,
    /// Statuses of problems beyond those of `access` and of a body.
    problems: &'static [u16],
}

/// Schemas of what the service reads, and of what it writes.
struct Generator {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Generator {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|it| it.definitions_path = "/components/schemas".into());
        let settings = settings.with_transform(tidy);
        let responses = settings.clone().for_serialize().with_transform(complete);
        Self { requests: settings.for_deserialize().into_generator(), responses: responses.into_generator() }
    }

    fn request<T: JsonSchema>(&mut self) -> Option<Value> {
        Some(self.requests.subschema_for::<T>().to_value())
    }

    fn response<T: JsonSchema>(&mut self, description: &str) -> Value {
        response(description, JSON, self.responses.subschema_for::<T>().to_value())
    }

    /// Describes the answer to a signed request, and the payload of its receipt.
    fn receipt(&mut self) -> Value {
        drop(self.responses.subschema_for::<MeterReceipt>());
        self.response::<SignedReceipt>("Signed receipt (digital-stamp-receipt), with a payload MeterReceipt.")
    }

    /// Returns the members of `T` as parameters of a query.
    fn query<T: JsonSchema>(&mut self) -> Vec<Value> {
        let object = T::json_schema(&mut self.requests);
        let members = object.get("properties").and_then(Value::as_object).unwrap();
        let parameter = |(name, schema): (&String, &Value)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().unwrap().remove("description");
            // An absent parameter is `None`; "null" is no number.
            if let Some(first) = schema["type"].get(0).cloned() {
                schema["type"] = first;
            }
            json!({ "name": name, "in": "query", "description": description, "schema": schema })
        };
        members.iter().map(parameter).collect()
    }

    fn describe(&mut self, operation: Operation) -> Description {
        let description = |id, summary, access, status, response| Description {
            id,
            summary,
            access,
            parameters: Vec::new(),
            request: None,
            status,
            response,
            problems: &[],
        };
        let public = |id, summary, response| description(id, summary, Access::Unauthenticated, 200, response);
        let own = |id, summary, status, response| description(id, summary, Access::ApiKey, status, response);
        match operation {
            Operation::Account => own("account", "State of the account", 200, self.response::<AccountStatus>("State.")),
            Operation::Buy => {
                let orders = json!({ "oneOf": [self.request::<Order>(), self.request::<Orders>()] });
                Description {
                    parameters: vec![json!({
                        "name": "Idempotency-Key",
                        "in": "header",
                        "required": true,
                        "description": "New for every purchase, the same for every retry. A retry within a week returns \
                                        the same stamps and is not charged.",
                        "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
                    })],
                    request: Some(orders),
                    problems: &[402],
                    ..own("buy", "Buy one stamp or many", 200, self.response::<IssueResponse>("The stamps."))
                }
            }
            Operation::Checkpoint => Description {
                parameters: signed_request(),
                request: self.request::<CheckpointRequest>(),
                problems: &[409],
                ..own("checkpoint", "Have the state of the account signed", 200, self.receipt())
            },
            Operation::Clear => Description {
                parameters: signed_request(),
                request: self.request::<ClearingRequest>(),
                problems: &[409],
                ..own("clear", "Clear tokens of meters", 200, self.receipt())
            },
            Operation::ConfirmCode => Description {
                request: self.request::<CodeConfirmation>(),
                ..own("confirm", "Prove an address with its code", 200, self.response::<Ownership>("All addresses."))
            },
            Operation::CreateApiKey => {
                let mut response = self.response::<NewApiKey>("The key.");
                response["headers"] =
                    json!({ "Location": { "description": "Address of the key.", "schema": { "type": "string" } } });
                Description {
                    request: self.request::<NewApiKeyRequest>(),
                    ..own("addKey", "Create an API key", 201, response)
                }
            }
            Operation::Deposit => Description {
                request: self.request::<DepositRequest>(),
                ..own("deposit", "Redeem used stamps", 200, self.response::<DepositResponse>("Result for each."))
            },
            Operation::Directory => {
                let document = json!({ "type": "object", "description": "Described in mailstamp-directory(5)." });
                let response = response("Signed directory document.", JSON, document);
                Description {
                    parameters: vec![json!({
                        "name": "If-None-Match",
                        "in": "header",
                        "description": "ETag of the document that the client has.",
                        "schema": { "type": "string" },
                    })],
                    problems: &[304],
                    ..public("directory", "Keys of the vendor", response)
                }
            }
            Operation::EndLicense => Description {
                parameters: vec![
                    json!({ "name": "kid", "in": "path", "required": true, "schema": { "type": "string" } }),
                ],
                problems: &[404],
                ..own("endLicense", "Revoke a licence", 204, json!({ "description": "The licence is revoked." }))
            },
            Operation::Health => {
                let response = response("It does.", "text/plain", json!({ "const": "ok\n" }));
                let summary = "Check whether the ledger responds";
                Description { problems: &[503], ..description("health", summary, Access::Unlimited, 200, response) }
            }
            Operation::History => Description {
                parameters: self.query::<HistoryQuery>(),
                problems: &[422],
                ..own("history", "Entries of the account, newest first", 200, self.response::<History>("Some entries."))
            },
            Operation::License => Description {
                parameters: signed_request(),
                request: self.request::<LicenseRequest>(),
                problems: &[402, 409],
                ..own("license", "License a meter", 200, self.receipt())
            },
            Operation::Licenses => {
                own("licenses", "Licences of the account", 200, self.response::<Licenses>("Those that are not closed."))
            }
            Operation::ListApiKeys => {
                own("keys", "API keys of the account", 200, self.response::<ApiKeys>("The keys."))
            }
            Operation::OpenApi => {
                let response = response("OpenAPI 3.1.", JSON, json!({ "type": "object" }));
                description("openapi", "This document", Access::Unlimited, 200, response)
            }
            Operation::Prices => Description {
                parameters: self.query::<PriceQuery>(),
                problems: &[422],
                ..public("prices", "Prices of credits", self.response::<Prices>("Prices and caps."))
            },
            Operation::Revoke => Description {
                request: self.request::<RevocationRequest>(),
                ..own("revoke", "Revoke stamps", 200, self.response::<RevocationResponse>("Number of stamps."))
            },
            Operation::RevokeApiKey => Description {
                parameters: vec![
                    json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }),
                ],
                problems: &[404, 409],
                ..own("revokeKey", "Revoke an API key", 204, json!({ "description": "The key is revoked." }))
            },
            Operation::SendCode => Description {
                request: self.request::<CodeRequest>(),
                ..own("claim", "Have a code mailed to an address", 202, self.response::<CodeSent>("The code was sent."))
            },
            Operation::TakeVoucher => Description {
                request: self.request::<VoucherRequest>(),
                ..own("voucher", "Add a voucher's credits", 200, self.response::<VoucherResponse>("The credits."))
            },
        }
    }
}

/// Returns the header fields of a request that a meter signs.
fn signed_request() -> Vec<Value> {
    vec![
        json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": true,
            "description": "New for every request, the same for every retry, which gets the same answer.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }),
        json!({
            "name": HEADER,
            "in": "header",
            "required": true,
            "description": "Token that the meter's key signs over this request; described in mailstamp-vendor(8).",
            "schema": { "type": "string", "pattern": r"^v4\.public\." },
        }),
    ]
}

fn response(description: &str, media_type: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { media_type: { "schema": schema } } })
}

/// Removes what only tells how Rust writes a type.
fn tidy(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut tidy, schema);
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    // The source breaks its lines.
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// Completes the schema of an answer: the service sends no member that is not listed, and no null for an absent one.
fn complete(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut complete, schema);
    for keyword in ["default", "readOnly"] {
        schema.remove(keyword);
    }
    let required = schema.get("required").cloned().unwrap_or_default();
    let Some(Value::Object(members)) = schema.get_mut("properties") else { return };
    for (name, member) in members {
        let absent = required.as_array().is_none_or(|required| !required.contains(&Value::from(name.as_str())));
        if absent && let Some(first) = member["type"].get(0).cloned() {
            member["type"] = first;
        }
    }
    schema.insert("additionalProperties".into(), false.into());
}

impl Description {
    fn operation(self) -> Value {
        let mut statuses = BTreeSet::from_iter(self.problems.iter().copied());
        // The timeout of every request.
        statuses.insert(408);
        if self.access != Access::Unlimited {
            statuses.extend([429, 503]);
        }
        if self.access == Access::ApiKey {
            statuses.extend([401, 403]);
        }
        if self.request.is_some() {
            statuses.extend([400, 413, 415, 422]);
        }
        let response = |status: u16| match status {
            304 => json!({ "description": "The client has this version." }),
            408 => json!({ "$ref": "#/components/responses/Timeout" }),
            _ => {
                assert!(CODES.iter().any(|(_, known, _)| *known == status), "no problem has status {status}");
                json!({ "$ref": "#/components/responses/Problem" })
            }
        };
        let mut responses: Map<String, Value> = statuses.iter().map(|it| (it.to_string(), response(*it))).collect();
        responses.insert(self.status.to_string(), self.response);
        let mut operation = json!({ "operationId": self.id, "summary": self.summary, "responses": responses });
        if self.access == Access::ApiKey {
            operation["security"] = json!([{ "key": [] }]);
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(schema) = self.request {
            operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": schema } } });
        }
        operation
    }
}

fn document() -> Document {
    let mut generator = Generator::new();
    let mut paths = Map::new();
    for operation in Operation::ALL {
        let method = operation.method().as_str().to_ascii_lowercase();
        let described = generator.describe(*operation).operation();
        let path = paths.entry(operation.path()).or_insert_with(|| json!({}));
        assert!(path.get(&method).is_none(), "{method} {} is listed twice", operation.path());
        path[method] = described;
    }
    let problem = generator.responses.subschema_for::<ProblemDetails>().to_value();
    let mut problem = response("Problem details (RFC 9457).", "application/problem+json", problem);
    let seconds = json!({ "description": "Seconds after which a retry may succeed.", "schema": { "type": "integer" } });
    problem["headers"] = json!({ "Retry-After": seconds });
    let mut schemas = generator.requests.take_definitions(true);
    for (name, mut schema) in generator.responses.take_definitions(true) {
        if name == "ProblemDetails" {
            // The numbers of the problem.
            schema["additionalProperties"] = true.into();
        }
        assert!(schemas.insert(name.clone(), schema).is_none(), "{name} is read and written");
    }
    Document {
        openapi: "3.1.0",
        info: json!({
            "title": "mailstamp vendor",
            "version": "1",
            "description": "Buy, redeem and return digital stamps for messages. Payouts are made by the operator \
                            (mailstamp vendor payout).",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        }),
        paths,
        components: json!({
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "responses": { "Problem": problem, "Timeout": { "description": "The request took too long." } },
            "schemas": schemas,
        }),
    }
}

#[test]
fn the_openapi_document_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("MAILSTAMP_WRITE_OPENAPI").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/vendor_http/api/openapi.json");
        fs::write(file, text).unwrap();
        return;
    }
    let line = text.lines().zip(OPENAPI.lines()).position(|(new, old)| new != old);
    assert!(
        text == OPENAPI,
        "openapi.json differs from the types, first after line {line:?}; if that is meant, MAILSTAMP_WRITE_OPENAPI=1 \
         cargo test --lib openapi writes it"
    );
}
