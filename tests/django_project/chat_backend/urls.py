"""The routes of the chat API and, under /control/, those that the tests steer it with."""

from django.urls import path

from chat_backend import control, views

API = "quantum-goose-app/api"

urlpatterns = [
    path(f"{API}/llm/chat/", views.chat),
    path(f"{API}/chat/", views.chat_without_session_ids),
    path(f"{API}/llm/health/", views.health),
    path("control/release/<str:gate>/", control.release),
    path("control/report/", control.report),
]
