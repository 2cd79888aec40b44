"""The two paths at which documents come in; they differ in how they answer."""

import inspect
from typing import Any

from aiohttp import web
from graphql import ExecutionResult, GraphQLSchema
from graphql import execute as execute_document  # pyright: ignore[reportUnknownVariableType]  # partly untyped
from pydantic import AliasChoices, BaseModel, Field

from caravan_common.errors import InvalidParametersError
from caravan_common.http import json_response
from caravan_manager.api.context import (
    EXPLANATIONS,
    IMAGES,
    NODE_ADMIN,
    NODES,
    PEOPLE,
    PEOPLE_ADMIN,
    PRINCIPAL,
    QUOTAS,
    SESSIONS,
    VFOLDERS,
    read_parameters,
)
from caravan_manager.api.graphql.base import Asked
from caravan_manager.api.graphql.documents import DocumentRefusedError, Documents
from caravan_manager.api.graphql.errors import GraphQLFailedError, formatted

routes = web.RouteTableDef()


class Engine:
    """A schema, and the documents that were asked of it."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._documents = Documents(schema)

    async def answer(
        self, asked: Asked, text: str, variables: dict[str, Any] | None = None, operation: str | None = None
    ) -> ExecutionResult:
        """Execute a document. Errors, of the document too, are in the result."""
        try:
            document = self._documents.read(text)
        except DocumentRefusedError as refused:
            return ExecutionResult(data=None, errors=refused.errors)
        result = execute_document(
            self._schema, document, context_value=asked, variable_values=variables, operation_name=operation
        )
        return await result if inspect.isawaitable(result) else result


ENGINE: web.AppKey[Engine] = web.AppKey("graphql", Engine)


class _Body(BaseModel):
    query: str
    variables: dict[str, Any] | None = None
    operation: str | None = Field(default=None, validation_alias=AliasChoices("operationName", "operation_name"))


@routes.post("/admin/gql")
async def answer_document(request: web.Request) -> web.Response:
    """Answer a document as the GraphQL specification has it; its errors are part of an answer with status 200."""
    result = await _execute(request)
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [formatted(error) for error in result.errors]
    return json_response(answer)


@routes.post("/admin/graphql")
async def answer_document_bare(request: web.Request) -> web.Response:
    """Answer a document with nothing but its data, as API versions before v6.20210815 did.

    Raises GraphQLFailedError when anything in the document failed.
    """
    result = await _execute(request)
    if result.errors:
        raise GraphQLFailedError(data=[formatted(error)["message"] for error in result.errors])
    return json_response(result.data)


async def _execute(request: web.Request) -> ExecutionResult:
    parameters = await read_parameters(request)
    if "query" not in parameters:
        raise InvalidParametersError("Input validation error", query="is required")
    body = _Body.model_validate(parameters)
    return await request.app[ENGINE].answer(_asked(request), body.query, body.variables, body.operation)


def _asked(request: web.Request) -> Asked:
    return Asked(
        principal=request[PRINCIPAL],
        people=request.app[PEOPLE],
        people_admin=request.app[PEOPLE_ADMIN],
        sessions=request.app[SESSIONS],
        explanations=request.app[EXPLANATIONS],
        vfolders=request.app[VFOLDERS],
        images=request.app[IMAGES],
        nodes=request.app[NODES],
        node_admin=request.app[NODE_ADMIN],
        quotas=request.app[QUOTAS],
    )
