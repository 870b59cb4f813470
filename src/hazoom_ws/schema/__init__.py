"""What clients may send and get, for tools: TypeScript types and an AsyncAPI document, made from the declared features."""
