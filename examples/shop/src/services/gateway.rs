//! The gateway: checks what comes from outside, and passes it on.

use axum::body::Bytes as Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::ServiceArgs;
use crate::client::{Answer, Client, IDEMPOTENCY_KEY};
use crate::domain::{Order, ServiceName};
use crate::policies::Policies;
use crate::problem::Problem;

pub(super) async fn run(args: ServiceArgs, listener: TcpListener, policies: Policies) -> Result<(), Problem> {
    let orders = Client::new(ServiceName::Orders, &args.endpoints, &policies)?;
    let routes =
        Router::new().route("/orders", post(place)).route("/orders/{id}", get(look_up)).with_state(Gateway { orders });
    super::serve(ServiceName::Gateway, listener, routes, policies, args.attached).await
}

#[derive(Clone, Debug)]
struct Gateway {
    orders: Client,
}

/// `POST /orders`: 202 once the order is durable; the same order again is answered the same.
async fn place(State(gateway): State<Gateway>, headers: HeaderMap, body: Body) -> Response {
    let order = match order(&headers, &body) {
        Ok(order) => order,
        Err(why) => return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": why }))).into_response(),
    };
    match gateway.orders.post("/orders", &order.order_id, &order).await {
        Ok(answer) => passed_on(answer),
        Err(error) => super::error_response(&error),
    }
}

/// `GET /orders/{id}`: how the order stands.
async fn look_up(State(gateway): State<Gateway>, Path(id): Path<String>) -> Response {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.chars().all(allowed) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match gateway.orders.get(&format!("/orders/{id}")).await {
        Ok(answer) => passed_on(answer),
        Err(error) => super::error_response(&error),
    }
}

/// The order in a request, or what is wrong with it.
fn order(headers: &HeaderMap, body: &[u8]) -> Result<Order, String> {
    let order: Order = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    order.check()?;
    match headers.get(IDEMPOTENCY_KEY) {
        Some(key) if key.as_bytes() != order.order_id.as_bytes() => {
            Err("the header idempotency-key is not the order_id".into())
        }
        _ => Ok(order),
    }
}

/// Another service's answer as one's own; its failure is a bad gateway.
fn passed_on(answer: Answer) -> Response {
    let status = match answer.status {
        status if status == StatusCode::SERVICE_UNAVAILABLE => status,
        status if status.is_server_error() => StatusCode::BAD_GATEWAY,
        status => status,
    };
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response();
    if let Some(wait) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_the_orders_own_is_refused() {
        let body = br#"{"order_id":"a","customer":"c","items":[{"sku":"s","qty":1,"cents":5}]}"#;
        let mut headers = HeaderMap::new();
        assert!(order(&headers, body).is_ok());
        headers.insert(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert_eq!(order(&headers, body).unwrap_err(), "the header idempotency-key is not the order_id");
    }
}
