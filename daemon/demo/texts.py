"""What the three workspaces of the demo say, in which language. `{…}` is filled in by messages.py."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """One text; `category` is what the rules go by."""

    category: str
    body: str
    media: bool = False


HOSPITAL, COACH, FLORIST = "hospital", "gym-coach", "florist"

NAMES = {
    "en": ("Amelia", "Noah", "Priya", "André", "Thandiwe"),
    "de": ("Jürgen", "Käthe", "Björn", "Anneliese", "Öztürk"),
    "fr": ("Élodie", "François", "Maël", "Hélène"),
    "es": ("Íñigo", "Begoña", "José", "Lucía"),
    "pt": ("João", "Conceição", "Inês"),
    "it": ("Niccolò", "Giulia", "Loredana"),
    "pl": ("Małgorzata", "Łukasz", "Zbigniew"),
    "tr": ("Gülşen", "Çağrı", "İpek"),
    "uk": ("Оксана", "Тарас", "Юлія"),
    "vi": ("Nguyễn Thị Hồng", "Trần Văn Đức"),
    "ja": ("佐藤 美咲", "鈴木 大輔"),
    "ar": ("فاطمة", "محمد"),
    "el": ("Ελένη", "Γιώργος"),
    "he": ("נועה", "יוסי"),
    "ko": ("김서연", "이준호"),
}

_HOSPITAL = {
    "en": (
        Text(
            "transactional", "{name}, your appointment is on {date} at {time}, {place}. Reply C to confirm."
        ),
        Text("transactional", "Your test results are ready: https://hospital.example/r/{code}"),
        Text(
            "urgent",
            "Transport to dialysis leaves {minutes} minutes earlier today: {time}. Questions: ask reception.",
        ),
        Text(
            "transactional",
            "{name}, before your operation on {date}: please do not eat after midnight and drink only clear water "
            "until {time}. Bring your insurance card, the list of all medicines you take, loose clothes and a person "
            "who can drive you home, because you must not drive for 24 hours. Leave jewellery and valuables at home. "
            "If you have a fever, a cough or a new rash, call us before you leave. The ward is on level 3, turn left "
            "after the lifts. Parking is free for two hours with the code {code}. Everything else is here: "
            "https://hospital.example/before/{code}. We look forward to seeing you and wish you a calm night.",
        ),
        Text(
            "marketing",
            "Flu vaccinations have begun at St Mary's: walk in Mon-Fri 8-18 h, no appointment needed.",
        ),
    ),
    "de": (
        Text(
            "transactional",
            "{name}, Ihr Termin: {date} um {time} Uhr, {place}. Absage bitte bis 24 h vorher.",
        ),
        Text(
            "transactional",
            "Guten Tag {name}, bitte kommen Sie am {date} um {time} Uhr nüchtern zur Blutabnahme. Wasser dürfen Sie "
            "trinken, Ihre Tabletten nehmen Sie wie gewohnt. Bringen Sie Ihre Gesundheitskarte und die Überweisung mit. "
            "Anfahrt und Parkhaus: https://hospital.example/weg/{code} – Ihr Ambulanzteam",
        ),
        Text("urgent", "Achtung: Die Notaufnahme ist heute nur über den Eingang Süd erreichbar."),
    ),
    "fr": (
        Text(
            "transactional",
            "{name}, votre rendez-vous est fixé au {date} à {time}. Annulation : répondez ANNULER.",
        ),
        Text("transactional", "Vos résultats sont prêts : https://hospital.example/r/{code} (accès protégé)"),
    ),
    "es": (
        Text(
            "transactional",
            "{name}, su cita es el {date} a las {time}. ¿No puede venir? Avísenos, por favor.",
        ),
        Text("transactional", "Mañana en ayunas, {name}: análisis a las {time}. Puede beber agua. ¡Gracias!"),
    ),
    "pt": (Text("transactional", "{name}, a sua consulta é em {date}, às {time}. Traga o cartão de saúde."),),
    "it": (
        Text(
            "transactional", "{name}, il suo appuntamento è il {date} alle {time}. È necessario il digiuno."
        ),
    ),
    "pl": (
        Text(
            "transactional",
            "{name}, przypominamy o wizycie {date} o {time}. Prosimy przyjść 10 minut wcześniej.",
        ),
    ),
    "tr": (
        Text("transactional", "Sayın {name}, randevunuz {date} saat {time}. Değişiklik için bizi arayın."),
    ),
    "uk": (
        Text("transactional", "{name}, нагадуємо: прийом {date} о {time}. Візьміть, будь ласка, паспорт."),
    ),
    "vi": (
        Text(
            "transactional", "Kính chào {name}, lịch khám của quý vị: {date} lúc {time}. Xin đến sớm 15 phút."
        ),
    ),
    "ja": (Text("transactional", "{name}様　ご予約は{date} {time}です。保険証をお持ちください。"),),
    "ar": (
        Text("transactional", "{name}، موعدك يوم {date} الساعة {time}. نرجو الحضور قبل الموعد بعشر دقائق."),
    ),
    "el": (Text("transactional", "{name}, το ραντεβού σας είναι στις {date}, ώρα {time}."),),
    "he": (Text("transactional", "{name}, התור שלך נקבע ל-{date} בשעה {time}."),),
    "ko": (Text("transactional", "{name}님, 예약은 {date} {time}입니다. 신분증을 가져오세요."),),
}

_COACH = {
    "en": (
        Text(
            "accountability",
            "{name}, you said three runs this week. Two down, one to go – today at {time}? 🏃‍♀️",
        ),
        Text("congratulatory", "🎉🎉 {name}! 10 workouts in a row. That is not luck, that is you. 💪"),
        Text(
            "transactional",
            "Tonight's spinning moves to {time}, studio 2. Swap or cancel: https://gym.example/c/{code}",
        ),
        Text(
            "accountability",
            "Good morning {name} ☀️ your plan for {date}: 10 min easy warm-up, 4 × 5 min at a pace where you can just "
            "still talk, 2 min walking in between, then stretch calves and hips. Sleep was short yesterday, so skip the "
            "last set if the legs are heavy. Send me a thumbs-up when you are done 👍 and we look at the week together.",
        ),
        Text("marketing", "Bring a friend in {date} week: both train free 🧡 https://gym.example/f/{code}"),
    ),
    "de": (
        Text(
            "accountability",
            "{name}, heute {time} Uhr Beintag 🦵 – bist du dabei? Antworte mit JA oder SPÄTER.",
        ),
        Text("congratulatory", "Stark, {name}! 🎉 Neue Bestzeit über 5 km: {minutes} Minuten. Weiter so!"),
    ),
    "es": (Text("congratulatory", "¡Enhorabuena, {name}! 🥳 Has cumplido tu objetivo de la semana."),),
    "fr": (Text("accountability", "{name}, on se voit à {time} pour la séance ? 💪 Réponds OUI ou NON."),),
    "pt": (Text("congratulatory", "Parabéns, {name}! 👏 Mais uma semana completa."),),
}

_FLORIST = {
    "en": (
        Text("transactional", "Your bouquet is ready, {name} 💐 Pick it up until {time}.", media=True),
        Text("transactional", "Delivered! 🌷 {name} has your flowers. Here is how they looked.", media=True),
        Text("marketing", "Peonies are in: first come, first served. https://florist.example/peonies"),
    ),
    "de": (
        Text(
            "transactional",
            "Ihr Strauß ist fertig, {name} 💐 Abholung bis {time} Uhr. Schöne Grüße!",
            media=True,
        ),
    ),
    "fr": (Text("transactional", "Votre bouquet est prêt, {name} 🌹 à retirer avant {time}.", media=True),),
    "it": (Text("transactional", "Il suo mazzo è pronto, {name} 🌻 fino alle {time}.", media=True),),
}

TEXTS = {HOSPITAL: _HOSPITAL, COACH: _COACH, FLORIST: _FLORIST}

PLACES = ("St Mary's, room 12", "Outpatients, level 2", "Cardiology, desk 4", "X-ray, ground floor")
