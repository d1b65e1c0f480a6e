"""A server's answers against its own OpenAPI schema, by schemathesis."""

from hypothesis import HealthCheck, Phase, given, settings

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
GENERATED = settings(phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)


def operations_of(server, schemathesis):
    """The operations of a server's schema by their names, such as ``GET /health``."""
    schema = schemathesis.openapi.from_dict(server.get("/openapi.json").json())
    return {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}


def assert_conforms(server, case, checks=CHECKS):
    """Send a request, whose answer must fit the schema; returns the answer."""
    import schemathesis

    response = case.call(base_url=server.url, timeout=120, headers={"Content-Type": "application/json"})
    case.validate_response(response, checks=[getattr(schemathesis.checks, name) for name in checks])
    return response


def assert_success_conforms(server, operation, **request):
    """Send a request that is answered, by an answer that fits the schema. request: fields of a schemathesis Case."""
    media_type = {"media_type": "application/json"} if "body" in request else {}
    response = assert_conforms(server, operation.Case(**request, **media_type))
    assert response.status_code // 100 == 2, (operation.label, response.status_code, response.text[:300])


def assert_generated_conform(server, operation, examples, fixed, checks=CHECKS):
    """Send requests that schemathesis generates. fixed: fields of their bodies that it does not choose."""

    @given(case=operation.as_strategy())
    @settings(GENERATED, max_examples=examples)
    def conforms(case):
        if isinstance(case.body, dict):
            case.body = {**case.body, **fixed}
        assert_conforms(server, case, checks)

    conforms()
